// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/sassoftware/go-rpmutils"
)

// fixture makes a release of this machine's distribution, which stands in for those of
// the other systems: what is in it does not matter to a package.
func fixture(t *testing.T, version string) release {
	t.Helper()
	distribution := os.Getenv("OTELCOL_TCPSTATS")
	if distribution == "" {
		t.Skip("skipped: OTELCOL_TCPSTATS names no distribution; make test builds one")
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// A fixture before may have gone up to it already.
	if filepath.Base(root) == "release" {
		root = filepath.Join(root, "..", "..")
	}
	r := release{root: root, build: t.TempDir(), out: t.TempDir(), version: version, date: time.Unix(1795293176, 0).UTC()}
	for _, system := range []string{"linux", "freebsd"} {
		if err := link(distribution, r.distribution(system, "amd64")); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	return r
}

// A packed file, as a package has it.
type packed struct {
	mode   int64
	body   []byte
	config bool // kept at an upgrade if it was changed
}

const development = "0.1.0-dev.20261121+acee76f"

// TestPackages makes each package and looks at every file in it.
func TestPackages(t *testing.T) {
	r := fixture(t, development)
	made, err := r.packages([]string{"amd64"})
	if err != nil {
		t.Fatal(err)
	}
	everywhere := []string{
		"0755 /usr/bin/otelcol-tcpstats",
		"0644 /etc/otelcol-tcpstats/config.yaml config",
		"0640 /etc/otelcol-tcpstats/environment config",
		"0644 /usr/share/doc/otelcol-tcpstats/NOTICE",
		"0644 /usr/share/doc/otelcol-tcpstats/THIRD_PARTY_NOTICES.gz",
		"0644 /usr/share/doc/otelcol-tcpstats/sbom.cdx.json.gz",
		"0644 /usr/share/man/man1/otelcol-tcpstats.1.gz",
	}
	examples, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatal("no examples", err)
	}
	for _, example := range examples {
		everywhere = append(everywhere, "0644 /usr/share/doc/otelcol-tcpstats/"+example)
	}
	for _, test := range []struct {
		ending string
		read   func(*testing.T, string) map[string]packed
		more   []string
	}{
		{".deb", readDeb, []string{
			"0644 /lib/systemd/system/otelcol-tcpstats.service", "0644 /usr/lib/sysusers.d/otelcol-tcpstats.conf",
			"0644 /usr/share/doc/otelcol-tcpstats/changelog.gz", "0644 /usr/share/doc/otelcol-tcpstats/copyright",
			"0644 /usr/share/lintian/overrides/otelcol-tcpstats",
		}},
		{".rpm", readRPM, []string{
			"0644 /usr/lib/systemd/system/otelcol-tcpstats.service", "0644 /usr/lib/sysusers.d/otelcol-tcpstats.conf",
			"0644 /usr/share/licenses/otelcol-tcpstats/LICENSE",
		}},
		{".apk", readAPK, []string{
			"0755 /etc/init.d/otelcol-tcpstats", "0644 /usr/share/licenses/otelcol-tcpstats/LICENSE",
		}},
		{".pkg.tar.zst", readArch, []string{
			"0644 /usr/lib/systemd/system/otelcol-tcpstats.service", "0644 /usr/lib/sysusers.d/otelcol-tcpstats.conf",
			"0644 /usr/share/licenses/otelcol-tcpstats/LICENSE",
		}},
	} {
		t.Run(test.ending, func(t *testing.T) {
			files := test.read(t, ending(t, made, test.ending))
			var got []string
			for name, file := range files {
				line := fmt.Sprintf("%04o %s", file.mode&0o7777, name)
				if file.config {
					line += " config"
				}
				got = append(got, line)
			}
			want := slices.Concat(everywhere, test.more)
			if test.ending == ".apk" {
				// apk keeps whatever is below /etc, and marks nothing.
				for i := range want {
					want[i] = strings.TrimSuffix(want[i], " config")
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("it has\n\t%s\nand should have\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
			program, err := os.ReadFile(os.Getenv("OTELCOL_TCPSTATS"))
			if err != nil {
				t.Fatal(err)
			}
			if sha256.Sum256(files["/usr/bin/otelcol-tcpstats"].body) != sha256.Sum256(program) {
				t.Error("its program is not the one that was built")
			}
		})
	}

	t.Run("tarballs", func(t *testing.T) {
		for system, service := range map[string]string{"linux": "linux/otelcol-tcpstats.service", "freebsd": "kmod/tcpstats.c"} {
			name := ending(t, made, "_"+system+"_amd64.tar.gz")
			files := readTar(t, gunzip(t, read(t, name)), "")
			top := strings.TrimSuffix(filepath.Base(name), ".tar.gz")
			for _, want := range []string{"otelcol-tcpstats", "README.md", "docs/page.md", "examples/all-options.yaml", "config.yaml", "THIRD_PARTY_NOTICES", service} {
				if len(files[path.Join(top, want)].body) == 0 {
					t.Errorf("%s has no %s", name, want)
				}
			}
			if system == "freebsd" {
				if manifest := string(files[path.Join(top, "freebsd/pkg-manifest.ucl")].body); !strings.Contains(manifest, `version: "0.1.0.pre20261121"`) {
					t.Errorf("pkg-manifest.ucl has another version:\n%s", manifest)
				}
			}
		}
	})

	t.Run("versions", func(t *testing.T) {
		for format, test := range map[string]struct {
			info string
			form *regexp.Regexp
		}{
			// apk cannot compare a version of another form with the next one.
			".apk": {string(gunzip(t, read(t, ending(t, made, ".apk")))), regexp.MustCompile(`^[0-9]+(\.[0-9]+)*_pre[0-9]+(-r[0-9]+)?$`)},
			// For pacman letters sort before the end: 0.1.0dev is older than 0.1.0.
			".pkg.tar.zst": {string(archAll(t, ending(t, made, ".pkg.tar.zst"))["/.PKGINFO"].body), regexp.MustCompile(`^[0-9.]+dev[a-z0-9._+]+-1$`)},
		} {
			_, rest, _ := strings.Cut(test.info, "pkgver = ")
			version, _, _ := strings.Cut(rest, "\n")
			if !test.form.MatchString(version) {
				t.Errorf("the version in %s is %q", format, version)
			}
		}
	})

	t.Run("checksums", func(t *testing.T) {
		if err := r.checksums(); err != nil {
			t.Fatal(err)
		}
		sums := string(read(t, filepath.Join(r.out, "SHA256SUMS")))
		for _, name := range made {
			line := fmt.Sprintf("%x  %s\n", sha256.Sum256(read(t, name)), filepath.Base(name))
			if !strings.Contains(sums, line) {
				t.Errorf("SHA256SUMS lacks %q", line)
			}
		}
	})

	t.Run("again", func(t *testing.T) {
		again := r
		again.out = t.TempDir()
		twice, err := again.packages([]string{"amd64"})
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range twice {
			// nfpm writes the hour of the build into an apk and an rpm.
			if strings.HasSuffix(name, ".apk") || strings.HasSuffix(name, ".rpm") || strings.HasSuffix(name, ".zst") {
				continue
			}
			if !bytes.Equal(read(t, name), read(t, made[i])) {
				t.Errorf("%s differs from the one made before of the same", filepath.Base(name))
			}
		}
	})
}

// TestBillOfMaterials compares the bill of materials with what go version -m shows.
func TestBillOfMaterials(t *testing.T) {
	r := fixture(t, development)
	modules, toolchain, err := r.linked(r.distribution("linux", "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.billOfMaterials(&text, modules, toolchain, "linux", "amd64"); err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat, SpecVersion string
		Components             []struct {
			Name, Version string
			Hashes        []struct{ Alg, Content string }
		}
	}
	if err := json.Unmarshal(text.Bytes(), &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.SpecVersion != "1.6" {
		t.Errorf("it is %s %s", bom.BOMFormat, bom.SpecVersion)
	}
	versions := make(map[string]string)
	for _, component := range bom.Components {
		versions[component.Name] = component.Version
		if component.Name != "std" && (len(component.Hashes) != 1 || len(component.Hashes[0].Content) != 64) {
			t.Errorf("%s has no hash", component.Name)
		}
	}
	for _, m := range modules {
		if !strings.HasPrefix(m.Path, "github.com/netpulse/") && versions[m.Path] != m.Version {
			t.Errorf("%s %s is linked, and listed as %q", m.Path, m.Version, versions[m.Path])
		}
	}
	if len(versions) < 100 {
		t.Errorf("only %d components", len(versions))
	}
}

// TestNotices checks that no module is linked without its licence.
func TestNotices(t *testing.T) {
	r := fixture(t, development)
	modules, toolchain, err := r.linked(r.distribution("linux", "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := notices(&text, modules, toolchain); err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if !strings.Contains(text.String(), "\n"+m.Path+" "+m.Version+" (") {
			t.Errorf("nothing of %s %s", m.Path, m.Version)
		}
	}
	for _, want := range []string{"Apache License", "Redistribution and use in source and binary forms", "Permission is hereby granted", "the Go standard library"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("nowhere %q", want)
		}
	}

	naked := module{Path: "example.org/naked", Version: "v1.0.0", Dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(naked.Dir, "licence.go"), []byte("package naked\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := notices(io.Discard, []module{naked}, toolchain); err == nil || !strings.Contains(err.Error(), "example.org/naked v1.0.0 has no licence") {
		t.Errorf("of a module without a licence: %v", err)
	}
}

// TestVersions checks how each packager writes a version, and that what comes before a
// release sorts before it.
func TestVersions(t *testing.T) {
	for version, want := range map[string][3]string{
		"0.1.0":                            {"0.1.0", "0.1.0", "0.1.0"},
		"0.1.0-rc.1":                       {"0.1.0~rc.1", "0.1.0.pre1", "0.1.0_pre1"},
		"0.1.0-dev.20261121+acee76f":       {"0.1.0~dev.20261121+acee76f", "0.1.0.pre20261121", "0.1.0_pre20261121"},
		"0.1.0-dev.20261121+acee76f.dirty": {"0.1.0~dev.20261121+acee76f.dirty", "0.1.0.pre20261121", "0.1.0_pre20261121"},
	} {
		if got := [3]string{debianVersion(version), freebsdVersion(version), alpineVersion(version)}; got != want {
			t.Errorf("%s is %v, want %v", version, got, want)
		}
	}
}

// TestReload checks that every service validates a configuration before the collector is
// told to read it: one that is wrong would end it.
func TestReload(t *testing.T) {
	for service, order := range map[string]string{
		"otelcol-tcpstats.service": `(?m)^ExecReload=\S+ validate --config .*\nExecReload=/bin/kill -HUP`,
		"otelcol-tcpstats.openrc":  `(?m)^\s+"\$command" validate --config .* && .* --signal HUP`,
		"freebsd/otelcol_tcpstats": `(?m)^start_precmd='.* validate --config .*'\nreload_precmd=\$start_precmd$`,
	} {
		body := read(t, filepath.Join("..", "..", "packaging", service))
		if !regexp.MustCompile(order).Match(body) {
			t.Errorf("packaging/%s reloads without looking at the configuration", service)
		}
	}
}

// TestOpenRC starts the service of OpenRC where it has no environment: the shells of
// Alpine and Debian end where they cannot read a file.
func TestOpenRC(t *testing.T) {
	script := filepath.Join("..", "..", "packaging", "otelcol-tcpstats.openrc")
	for _, shell := range []string{"sh", "dash", "busybox"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		args := []string{"-c", `. "$0" && checkpath() { :; } && command=true && start_pre && echo "with $GOMEMLIMIT"`, script}
		if shell == "busybox" {
			args = append([]string{"sh"}, args...)
		}
		output, err := exec.Command(path, args...).CombinedOutput()
		if err != nil || string(output) != "with 400MiB\n" {
			t.Errorf("%s: %v: %s", shell, err, output)
		}
	}
}

// TestRun checks what the command says of wrong arguments.
func TestRun(t *testing.T) {
	for want, args := range map[string][]string{
		"it takes -version and what to make":  {},
		`"deb" is neither packages nor image`: {"-version", "1.0.0", "-out", t.TempDir(), "deb"},
		"make cross builds it":                {"-version", "1.0.0", "-out", t.TempDir(), "-build", t.TempDir(), "packages"},
	} {
		t.Chdir(t.TempDir())
		if err := run(append([]string{"-root", "."}, args...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}

func ending(t *testing.T, names []string, end string) string {
	t.Helper()
	for _, name := range names {
		if strings.HasSuffix(name, end) {
			return name
		}
	}
	t.Fatalf("no %s among %q", end, names)
	return ""
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func gunzip(t *testing.T, body []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// readTar reads the files of an archive, or of several one after the other, and puts
// a prefix before their names.
func readTar(t *testing.T, body []byte, prefix string) map[string]packed {
	t.Helper()
	files := make(map[string]packed)
	archive := tar.NewReader(bytes.NewReader(body))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(prefix + header.Name)
		files[name] = packed{mode: header.Mode, body: content}
	}
}

// readDeb reads a package of Debian's: an ar archive of two tarballs.
func readDeb(t *testing.T, name string) map[string]packed {
	body := read(t, name)
	members := make(map[string][]byte)
	for rest := body[len("!<arch>\n"):]; len(rest) >= 60; {
		var size int
		if _, err := fmt.Sscan(strings.TrimSpace(string(rest[48:58])), &size); err != nil {
			t.Fatal(err)
		}
		members[strings.TrimRight(string(rest[:16]), "/ ")] = rest[60 : 60+size]
		rest = rest[min(len(rest), 60+size+size%2):]
	}
	files := readTar(t, gunzip(t, members["data.tar.gz"]), "/")
	control := readTar(t, gunzip(t, members["control.tar.gz"]), "/")
	for line := range strings.Lines(string(control["/conffiles"].body)) {
		file := files[strings.TrimSpace(line)]
		file.config = true
		files[strings.TrimSpace(line)] = file
	}
	return files
}

func readRPM(t *testing.T, name string) map[string]packed {
	rpm, err := rpmutils.ReadRpm(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	infos, err := rpm.Header.GetFiles()
	if err != nil {
		t.Fatal(err)
	}
	flags := make(map[string]int)
	for _, info := range infos {
		flags[info.Name()] = info.Flags()
	}
	payload, err := rpm.PayloadReaderExtended()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]packed)
	for {
		info, err := payload.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(payload)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o170000 == 0o040000 {
			continue
		}
		const config, noReplace = 1, 16
		files[info.Name()] = packed{mode: int64(info.Mode()), body: body, config: flags[info.Name()]&(config|noReplace) == config|noReplace}
	}
}

// readAPK reads a package of Alpine's: gzipped archives one after the other, of which
// those whose files begin with a dot are control.
func readAPK(t *testing.T, name string) map[string]packed {
	files := make(map[string]packed)
	compressed := bytes.NewReader(read(t, name))
	reader, err := gzip.NewReader(compressed)
	for err == nil {
		reader.Multistream(false)
		body, readErr := io.ReadAll(reader)
		if readErr != nil {
			t.Fatal(readErr)
		}
		for name, file := range readTar(t, body, "/") {
			if !strings.HasPrefix(name, "/.") {
				files[name] = file
			}
		}
		err = reader.Reset(compressed)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return files
}

func readArch(t *testing.T, name string) map[string]packed {
	files := archAll(t, name)
	backup := string(files["/.PKGINFO"].body)
	for name, file := range files {
		if strings.HasPrefix(name, "/.") {
			delete(files, name)
		} else if strings.Contains(backup, "backup = "+strings.TrimPrefix(name, "/")+"\n") {
			file.config = true
			files[name] = file
		}
	}
	return files
}

// archAll reads also what pacman reads itself.
func archAll(t *testing.T, name string) map[string]packed {
	t.Helper()
	reader, err := zstd.NewReader(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	body, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return readTar(t, body, "/")
}
