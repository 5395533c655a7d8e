// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the image's: a number that no host gives to anybody, as distroless has it.
const user = 65532

// image writes an OCI layout with an image for each machine in one index, and the same
// as an archive, which podman load and skopeo copy take. It needs neither a daemon nor
// root, nor a tool of the host.
func (r release) image(arches []string) ([]string, error) {
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range arches {
		one, err := r.imageOf(arch)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        one,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	dir := filepath.Join(r.out, "image")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	// An index in the index: a name stands for all machines together.
	path, err := layout.Write(dir, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return nil, err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": r.tag(),
	})); err != nil {
		return nil, err
	}
	archive := filepath.Join(r.out, "otelcol-tcpstats_"+r.tag()+"_oci.tar")
	return []string{dir, archive}, r.archive(dir, archive)
}

// tag is the version as a registry takes it, which knows no plus.
func (r release) tag() string { return strings.ReplaceAll(r.version, "+", "_") }

// imageOf makes the image for one machine.
func (r release) imageOf(arch string) (v1.Image, error) {
	binary := r.distribution("linux", arch)
	modules, toolchain, err := r.linked(binary)
	if err != nil {
		return nil, err
	}
	var notice, bom bytes.Buffer
	if err := notices(&notice, modules, toolchain); err != nil {
		return nil, err
	}
	if err := r.billOfMaterials(&bom, modules, toolchain, "linux", arch); err != nil {
		return nil, err
	}
	health, err := r.healthcheck(arch)
	if err != nil {
		return nil, err
	}
	files := []file{
		{"etc/ssl/certs/ca-certificates.crt", 0o644, authorities()},
		{"etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\notelcol:x:%d:%d:otelcol:/var/lib/otelcol-tcpstats:/sbin/nologin\n", user, user)},
		{"etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\notelcol:x:%d:\n", user)},
		{"usr/share/doc/otelcol-tcpstats/THIRD_PARTY_NOTICES", 0o644, notice.Bytes()},
		{"usr/share/doc/otelcol-tcpstats/sbom.cdx.json", 0o644, bom.Bytes()},
		{"healthcheck", 0o755, health},
	}
	for _, from := range []struct {
		path, name string
		mode       int64
	}{
		{filepath.Join(r.root, "packaging/image/config.yaml"), "etc/otelcol-tcpstats/config.yaml", 0o644},
		{filepath.Join(r.root, "LICENSE"), "usr/share/doc/otelcol-tcpstats/LICENSE", 0o644},
		{filepath.Join(r.root, "NOTICE"), "usr/share/doc/otelcol-tcpstats/NOTICE", 0o644},
		{binary, "otelcol-tcpstats", 0o755},
	} {
		body, err := os.ReadFile(from.path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{from.name, from.mode, body})
	}
	layer, err := r.layer(files)
	if err != nil {
		return nil, err
	}
	made := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if made, err = mutate.Append(made, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{Created: v1.Time{Time: r.date}, CreatedBy: "make image"},
	}); err != nil {
		return nil, err
	}
	config, err := made.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Created = v1.Time{Time: r.date}
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", user, user),
		Entrypoint: []string{"/otelcol-tcpstats"},
		Cmd:        []string{"--config", "/etc/otelcol-tcpstats/config.yaml"},
		WorkingDir: "/var/lib/otelcol-tcpstats",
		// Docker's; podman takes it from an image of Docker's kind only.
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/healthcheck"}, Interval: 30 * time.Second, Timeout: 5 * time.Second, StartPeriod: 10 * time.Second, Retries: 3},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "otelcol-tcpstats",
			"org.opencontainers.image.version":  r.version,
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source":   "https://github.com/netpulse/tcpstatsreceiver",
		},
	}
	return mutate.ConfigFile(made, config)
}

// A file of the image.
type file struct {
	name string
	mode int64
	body []byte
}

// layer makes the one layer that the image has.
func (r release) layer(files []file) (v1.Layer, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	add := func(header tar.Header, body []byte) error {
		header.ModTime, header.Format, header.Size = r.date, tar.FormatPAX, int64(len(body))
		if err := archive.WriteHeader(&header); err != nil {
			return err
		}
		_, err := archive.Write(body)
		return err
	}
	for _, dir := range []string{"etc", "etc/otelcol-tcpstats", "etc/ssl", "etc/ssl/certs", "usr", "usr/share",
		"usr/share/doc", "usr/share/doc/otelcol-tcpstats", "var", "var/lib"} {
		if err := add(tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil); err != nil {
			return nil, err
		}
	}
	for _, dir := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeDir, Name: "var/lib/otelcol-tcpstats/", Mode: 0o750, Uid: user, Gid: user},
	} {
		if err := add(dir, nil); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := add(tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode}, f.body); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// authorities are the certificates that TLS to a backend is checked with: Mozilla's, as
// the Go project publishes them.
func authorities() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		// Those that are trusted under conditions need code to check them.
		if root.Constraint == nil {
			pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return all.Bytes()
}

// healthcheck builds the program of that name.
func (r release) healthcheck(arch string) ([]byte, error) {
	path := filepath.Join(r.out, ".healthcheck-"+arch)
	defer os.Remove(path)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./healthcheck")
	build.Dir = filepath.Join(r.root, "tools", "release")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the health check: %w\n%s", err, output)
	}
	return os.ReadFile(path)
}

// archive packs a folder.
func (r release) archive(dir, to string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	archive := tar.NewWriter(out)
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return r.add(archive, path, filepath.ToSlash(name), 0o644)
	})
	if err != nil {
		return fmt.Errorf("pack the image: %w", err)
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return out.Close()
}
