// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	// Each format registers itself.
	_ "github.com/goreleaser/nfpm/v2/apk"
	_ "github.com/goreleaser/nfpm/v2/arch"
	_ "github.com/goreleaser/nfpm/v2/deb"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// formats of packages, by nfpm's names.
var formats = []string{"deb", "rpm", "apk", "archlinux"}

// linux makes the packages of the Linux distributions, as packaging/nfpm.yaml
// describes them.
func (r release) linux(stage, arch string) ([]string, error) {
	variables := map[string]string{"VERSION": r.version, "ARCH": arch, "STAGE": stage}
	var made []string
	for _, format := range formats {
		config, err := nfpm.ParseFileWithEnvMapping(filepath.Join(r.root, "packaging", "nfpm.yaml"),
			func(name string) string { return variables[name] })
		if err != nil {
			return nil, fmt.Errorf("packaging/nfpm.yaml: %w", err)
		}
		info, err := config.Get(format)
		if err != nil {
			return nil, fmt.Errorf("packaging/nfpm.yaml, %s: %w", format, err)
		}
		info = nfpm.WithDefaults(info)
		r.number(info, format)
		info.MTime = r.date
		packager, err := nfpm.Get(format)
		if err != nil {
			return nil, err
		}
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return nil, fmt.Errorf("packaging/nfpm.yaml, %s: %w", format, err)
		}
		name := filepath.Join(r.out, strings.ReplaceAll(packager.ConventionalFileName(info), "+", "_"))
		file, err := os.Create(name)
		if err != nil {
			return nil, err
		}
		info.Target = name
		if err := packager.Package(info, file); err != nil {
			file.Close()
			return nil, fmt.Errorf("make %s: %w", filepath.Base(name), err)
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
		made = append(made, name)
	}
	return made, nil
}

// number writes the version of a prerelease where nfpm writes one that the system takes
// for another: apk cannot compare it, and for pacman it is the release's.
func (r release) number(info *nfpm.Info, format string) {
	switch format {
	case "apk":
		info.Version = alpineVersion(r.version)
	case "archlinux":
		info.Version += strings.ReplaceAll(info.Prerelease, "-", "_")
	default:
		return
	}
	info.VersionSchema, info.Prerelease, info.VersionMetadata = "none", "", ""
}
