// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// An entry of a tarball.
type entry struct {
	from, to string
	mode     int64
}

// contents of the tarballs, beside what is staged. A path that ends in a star has all
// files of a folder.
func contents(stage, system string) []entry {
	entries := []entry{
		{filepath.Join(stage, "otelcol-tcpstats"), "otelcol-tcpstats", 0o755},
		{filepath.Join(stage, "THIRD_PARTY_NOTICES"), "THIRD_PARTY_NOTICES", 0o644},
		{filepath.Join(stage, "otelcol-tcpstats.cdx.json"), "otelcol-tcpstats.cdx.json", 0o644},
		{"LICENSE", "LICENSE", 0o644},
		{"NOTICE", "NOTICE", 0o644},
		{"README.md", "README.md", 0o644},
		{"CHANGELOG.md", "CHANGELOG.md", 0o644},
		{"documentation.md", "documentation.md", 0o644},
		{"docs/*.md", "docs", 0o644},
		{"examples/*.yaml", "examples", 0o644},
		{"packaging/config.yaml", "config.yaml", 0o644},
	}
	if system == "freebsd" {
		return append(entries,
			entry{"packaging/freebsd/otelcol_tcpstats", "freebsd/otelcol_tcpstats", 0o555},
			entry{filepath.Join(stage, "pkg-manifest.ucl"), "freebsd/pkg-manifest.ucl", 0o644},
			entry{"packaging/freebsd/stage.sh", "freebsd/stage.sh", 0o755},
			entry{"kmod/*", "kmod", 0o644})
	}
	return append(entries,
		entry{"packaging/environment", "linux/environment", 0o640},
		entry{"packaging/otelcol-tcpstats.service", "linux/otelcol-tcpstats.service", 0o644},
		entry{"packaging/otelcol-tcpstats.openrc", "linux/otelcol-tcpstats.openrc", 0o755},
		entry{"packaging/sysusers.conf", "linux/sysusers.conf", 0o644})
}

// tarball makes the archive for one machine, and beside it the bill of materials.
func (r release) tarball(stage, system, arch string) ([]string, error) {
	name := filepath.Join(r.out, r.base(system, arch)+".tar.gz")
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	packed := gzip.NewWriter(file)
	archive := tar.NewWriter(packed)
	top := r.base(system, arch)
	for _, e := range contents(stage, system) {
		paths := []string{e.from}
		if strings.Contains(e.from, "*") {
			if paths, err = filepath.Glob(e.from); err != nil || len(paths) == 0 {
				return nil, fmt.Errorf("%s: no such files: %w", e.from, err)
			}
		}
		for _, path := range paths {
			to := e.to
			if strings.Contains(e.from, "*") {
				to = e.to + "/" + filepath.Base(path)
			}
			if err := r.add(archive, path, top+"/"+to, e.mode); err != nil {
				return nil, fmt.Errorf("make %s: %w", filepath.Base(name), err)
			}
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := packed.Close(); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}

	bom := filepath.Join(r.out, r.base(system, arch)+".cdx.json")
	body, err := os.ReadFile(filepath.Join(stage, "otelcol-tcpstats.cdx.json"))
	if err != nil {
		return nil, err
	}
	return []string{name, bom}, os.WriteFile(bom, body, 0o644)
}

// add adds a file that belongs to root and is as old as the commit.
func (r release) add(archive *tar.Writer, path, to string, mode int64) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	header := &tar.Header{Name: to, Mode: mode, Size: int64(len(body)), ModTime: r.date, Uname: "root", Gname: "root", Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, bytes.NewReader(body))
	return err
}
