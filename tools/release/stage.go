// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// stage makes a folder with the program and with what is generated for one machine:
// the notices, the bill of materials, the manual and the changelog. The caller removes it.
func (r release) stage(system, arch string) (dir string, err error) {
	binary := r.distribution(system, arch)
	modules, toolchain, err := r.linked(binary)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(r.out, ".stage-"+system+"-"+arch)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := link(binary, filepath.Join(dir, "otelcol-tcpstats")); err != nil {
		return "", err
	}

	var text bytes.Buffer
	if err := notices(&text, modules, toolchain); err != nil {
		return "", err
	}
	if err := r.write(dir, "THIRD_PARTY_NOTICES", text.Bytes()); err != nil {
		return "", err
	}
	text.Reset()
	if err := r.billOfMaterials(&text, modules, toolchain, system, arch); err != nil {
		return "", err
	}
	if err := r.write(dir, "otelcol-tcpstats.cdx.json", text.Bytes()); err != nil {
		return "", err
	}
	for from, to := range map[string]string{
		"packaging/otelcol-tcpstats.1": "otelcol-tcpstats.1",
		"CHANGELOG.md":                 "CHANGELOG.md",
	} {
		body, err := os.ReadFile(filepath.Join(r.root, from))
		if err != nil {
			return "", err
		}
		if err := r.write(dir, to, body); err != nil {
			return "", err
		}
	}
	manifest, err := os.ReadFile(filepath.Join(r.root, "packaging", "freebsd", "pkg-manifest.ucl"))
	if err != nil {
		return "", err
	}
	manifest = bytes.ReplaceAll(manifest, []byte("@VERSION@"), []byte(freebsdVersion(r.version)))
	if err := r.write(dir, "pkg-manifest.ucl", manifest); err != nil {
		return "", err
	}
	return dir, r.write(dir, "changelog", r.debianChangelog())
}

// write writes a file, and beside it the same compressed, without a time.
func (r release) write(dir, name string, body []byte) error {
	if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
		return err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".gz"), packed.Bytes(), 0o644)
}

// debianChangelog is what Debian wants of one: this version.
func (r release) debianChangelog() []byte {
	return fmt.Appendf(nil, "otelcol-tcpstats (%s) unstable; urgency=medium\n\n  * See https://github.com/netpulse/tcpstatsreceiver/blob/main/CHANGELOG.md\n\n -- The tcpstats authors <tcpstats@users.noreply.github.com>  %s\n",
		debianVersion(r.version), r.date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
}

// prerelease is what semver has between - and +.
var prerelease = regexp.MustCompile(`^([0-9.]+)-([^+]*)(.*)$`)

// debianVersion sorts a prerelease before its release, as nfpm does.
func debianVersion(version string) string {
	return prerelease.ReplaceAllString(version, "$1~$2$3")
}

// freebsdVersion sorts a prerelease before its release, as pkg-version(8) compares them.
func freebsdVersion(version string) string {
	version, _, _ = strings.Cut(version, "+")
	release, before, ok := strings.Cut(version, "-")
	if !ok {
		return release
	}
	return release + ".pre" + before[strings.LastIndexByte(before, '.')+1:]
}

// alpineVersion sorts a prerelease before its release, as apk compares them. Of words it
// takes only a few such as pre, and no commit.
func alpineVersion(version string) string {
	return strings.Replace(freebsdVersion(version), ".pre", "_pre", 1)
}

// link makes a file appear in another folder, copied where it cannot be linked.
func link(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return target.Close()
}

// base is the name of everything for one machine, without its ending.
func (r release) base(system, arch string) string {
	return strings.Join([]string{"otelcol-tcpstats", strings.ReplaceAll(r.version, "+", "_"), system, arch}, "_")
}
