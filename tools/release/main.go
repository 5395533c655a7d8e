// SPDX-License-Identifier: Apache-2.0

// Command release makes what is published of tcpstats from distributions that are built
// already: packages, tarballs, an OCI image, a bill of materials, the notices of what is
// linked, and checksums. `make packages`, `make image` and `make release` run it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "release:", err)
		}
		os.Exit(1)
	}
}

// A release is what everything is made from.
type release struct {
	root    string    // of the repository
	build   string    // with the distributions, named otelcol-tcpstats_GOOS_GOARCH
	out     string    // where everything is written
	version string    // of semver, without a v
	date    time.Time // of the commit: all files have it, so that two builds are equal
}

// distribution is the path of one that is built.
func (r release) distribution(system, arch string) string {
	return filepath.Join(r.build, "otelcol-tcpstats_"+system+"_"+arch)
}

func run(args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	root := flags.String("root", "../..", "the repository")
	build := flags.String("build", "../../_build", "where the distributions are")
	out := flags.String("out", "../../_build/release", "where to write")
	version := flags.String("version", "", "as MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]")
	date := flags.Int64("date", 0, "of the commit, in seconds since 1970")
	arches := flags.String("arch", "amd64,arm64", "for which machines")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: release [flags] packages|image ...")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version == "" || flags.NArg() == 0 {
		flags.Usage()
		return errors.New("it takes -version and what to make: packages, image, or both")
	}
	// nfpm finds the files of a package below the working folder.
	r := release{version: strings.TrimPrefix(*version, "v"), date: time.Unix(*date, 0).UTC()}
	for _, path := range []struct {
		from string
		to   *string
	}{{*root, &r.root}, {*build, &r.build}, {*out, &r.out}} {
		absolute, err := filepath.Abs(path.from)
		if err != nil {
			return err
		}
		*path.to = absolute
	}
	if err := os.Chdir(r.root); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}

	machines := strings.Split(*arches, ",")
	for _, what := range flags.Args() {
		var made []string
		var err error
		switch what {
		case "packages":
			made, err = r.packages(machines)
		case "image":
			made, err = r.image(machines)
		default:
			err = fmt.Errorf("%q is neither packages nor image", what)
		}
		if err != nil {
			return err
		}
		for _, path := range made {
			fmt.Println(path)
		}
	}
	return r.checksums()
}

// packages makes all that is installed without a registry: of Linux packages and
// tarballs, of FreeBSD tarballs with the files of a package.
func (r release) packages(arches []string) ([]string, error) {
	var made []string
	for _, arch := range arches {
		for _, system := range []string{"linux", "freebsd"} {
			stage, err := r.stage(system, arch)
			if err != nil {
				return nil, err
			}
			files, err := r.tarball(stage, system, arch)
			if err != nil {
				return nil, err
			}
			made = append(made, files...)
			if system == "linux" {
				files, err := r.linux(stage, arch)
				if err != nil {
					return nil, err
				}
				made = append(made, files...)
			}
			if err := os.RemoveAll(stage); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}
