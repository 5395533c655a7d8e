// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// A module is one that a distribution is linked with.
type module struct {
	Path    string // as it is imported
	Version string
	Sum     string // h1:…, of go.sum; empty for ourselves
	Dir     string // its sources
}

// linked lists the modules in a distribution, by what the linker wrote into it. The
// sources come from the module that `make build` builds it in.
func (r release) linked(binary string) (modules []module, toolchain string, err error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, "", fmt.Errorf("%w (make cross builds it)", err)
	}
	for _, dep := range info.Deps {
		m := module{Path: dep.Path, Version: dep.Version, Sum: dep.Sum}
		if dep.Replace != nil {
			m.Version, m.Sum = dep.Replace.Version, dep.Replace.Sum
		}
		modules = append(modules, m)
	}
	if len(modules) == 0 {
		return nil, "", fmt.Errorf("%s does not say which modules it is linked with", binary)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.Path, b.Path) })

	command := exec.Command("go", "list", "-mod=mod", "-m", "-f", "{{.Path}}\t{{.Dir}}", "all")
	command.Dir = filepath.Join(r.root, "_build")
	command.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	list, err := command.Output()
	if err != nil {
		return nil, "", fmt.Errorf("list the modules in %s: %w: %s", command.Dir, err, stderr.String())
	}
	folders := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		folders[path] = dir
	}
	for i := range modules {
		if modules[i].Dir = folders[modules[i].Path]; modules[i].Dir == "" {
			return nil, "", fmt.Errorf("the sources of %s are not on this machine", modules[i].Path)
		}
	}
	return modules, info.GoVersion, nil
}

// The files in which modules say how they may be used.
var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|authors|copyright)([.-].*)?$`)

// notices writes the licences of all that a distribution is linked with. Equal texts
// are written once.
func notices(w io.Writer, modules []module, toolchain string) error {
	fmt.Fprint(w, "otelcol-tcpstats is linked with the modules below, and with the standard library of\n",
		toolchain, ". These are their notices and licences.\n")
	type text struct {
		body  string
		users []string
	}
	var texts []*text
	known := make(map[[32]byte]*text)
	for _, m := range modules {
		entries, err := os.ReadDir(m.Dir)
		if err != nil {
			return fmt.Errorf("look for the licence of %s: %w", m.Path, err)
		}
		found := false
		for _, entry := range entries {
			if entry.IsDir() || !licence.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
				continue
			}
			body, err := os.ReadFile(filepath.Join(m.Dir, entry.Name()))
			if err != nil {
				return fmt.Errorf("read the licence of %s: %w", m.Path, err)
			}
			found = found || !strings.HasPrefix(strings.ToLower(entry.Name()), "authors")
			digest := sha256.Sum256(body)
			if known[digest] == nil {
				known[digest] = &text{body: string(body)}
				texts = append(texts, known[digest])
			}
			known[digest].users = append(known[digest].users, m.Path+" "+m.Version+" ("+entry.Name()+")")
		}
		if !found {
			return fmt.Errorf("%s %s has no licence in its folder", m.Path, m.Version)
		}
	}
	standard, err := standardLibrary()
	if err != nil {
		return err
	}
	texts = append(texts, &text{body: standard, users: []string{"the Go standard library, " + toolchain}})

	rule := strings.Repeat("=", 80)
	for _, text := range texts {
		fmt.Fprintf(w, "\n%s\n%s\n%s\n\n%s\n", rule, strings.Join(text.users, "\n"), rule, strings.TrimRight(text.body, "\n"))
	}
	return nil
}

// standardLibrary returns the licence of Go itself.
func standardLibrary() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	// Debian and others keep it beside their other documentation.
	for _, path := range []string{
		filepath.Join(strings.TrimSpace(string(root)), "LICENSE"),
		"/usr/share/doc/golang-go/copyright",
		"/usr/share/licenses/go/LICENSE",
	} {
		body, err := os.ReadFile(path)
		if err == nil {
			return string(body), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("no LICENSE in %s", strings.TrimSpace(string(root)))
}

// billOfMaterials writes what a distribution consists of, in CycloneDX 1.6.
func (r release) billOfMaterials(w io.Writer, modules []module, toolchain, system, arch string) error {
	bom := cdx.NewBOM()
	// The same contents give the same number.
	bom.SerialNumber = "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL,
		[]byte("otelcol-tcpstats@"+r.version+"/"+system+"/"+arch)).String()
	name := "pkg:golang/github.com/netpulse/tcpstatsreceiver@v" + r.version + "?goos=" + system + "&goarch=" + arch
	bom.Metadata = &cdx.Metadata{
		Timestamp: r.date.Format("2006-01-02T15:04:05Z"),
		Component: &cdx.Component{
			BOMRef: name, Type: cdx.ComponentTypeApplication, Name: "otelcol-tcpstats", Version: r.version, PackageURL: name,
			Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		},
	}
	components := []cdx.Component{{
		BOMRef: "pkg:golang/std@" + toolchain, Type: cdx.ComponentTypeLibrary, Name: "std", Version: toolchain,
		PackageURL: "pkg:golang/std@" + strings.TrimPrefix(toolchain, "go"),
	}}
	for _, m := range modules {
		if strings.HasPrefix(m.Path, "github.com/netpulse/tcpstatsreceiver") {
			continue // the thing itself
		}
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		component := cdx.Component{
			BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl, Scope: cdx.ScopeRequired,
		}
		if digest, err := goSum(m.Sum); err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
		} else if digest != "" {
			component.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: digest}}
		}
		components = append(components, component)
	}
	bom.Components = &components
	encoder := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	return encoder.EncodeVersion(bom, cdx.SpecVersion1_6)
}

// goSum returns the hash of a line of go.sum in hexadecimal.
func goSum(sum string) (string, error) {
	if sum == "" {
		return "", nil
	}
	encoded, ok := strings.CutPrefix(sum, "h1:")
	if !ok {
		return "", fmt.Errorf("%q is a hash of another kind than h1", sum)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(raw), nil
}
