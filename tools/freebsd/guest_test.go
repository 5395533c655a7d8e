// SPDX-License-Identifier: Apache-2.0

package freebsd

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netpulse/tcpstatsreceiver/tools/freebsd/job"
)

const (
	repository = "../.."
	nobody     = 65534 // a user without privileges
	jobLimit   = 10 * time.Minute

	// Where things are in the guest.
	sources = "/src"   // the repository
	tests   = "/tests" // test binaries
	module  = "/boot/modules/tcpstats.ko"
	dist    = "/bin/otelcol-tcpstats"
	local   = "/usr/local" // of the installed package
)

// guest is the root file system of a guest in the making.
type guest struct {
	t    *testing.T
	root string
	jobs []job.Job
	want *regexp.Regexp // the names of jobs

	hasModule bool
}

// newGuest makes a root file system. The kernel module is none if it has no path.
func newGuest(t *testing.T, want, kmod string) *guest {
	t.Helper()
	g := &guest{t: t, root: t.TempDir(), want: regexp.MustCompile(want), hasModule: kmod != ""}
	for _, dir := range []string{"/bin", "/sbin", "/dev", "/etc", "/tmp", tests, filepath.Dir(module)} {
		g.must(os.MkdirAll(g.path(dir), 0o755))
	}
	// What programs look up: users, and where localhost is.
	g.write("/etc/passwd", "root:*:0:0::0:0::/:\nnobody:*:65534:65534::0:0::/:\n")
	g.write("/etc/group", "wheel:*:0:root\nnobody:*:65534:\n")
	g.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	g.copyRepository()
	g.compile(".", job.Init, "build", "./init")
	if g.hasModule {
		g.copy(kmod, module)
	}
	return g
}

// packages makes a job of the tests of each package that has other files for
// FreeBSD than for this system.
func (g *guest) packages() {
	here, there := g.files("linux"), g.files("freebsd")
	for _, dir := range slices.Sorted(maps.Keys(there)) {
		if files := there[dir]; files != here[dir] && strings.Contains(files, "_test.go") && g.want.MatchString(dir) {
			binary := tests + "/" + strings.ReplaceAll(dir, "/", "_")
			g.compile(filepath.Join(repository, dir), binary, "test", "-c", ".")
			g.test(dir, dir, binary, 0)
			g.test(dir+"-as-user", dir, binary, nobody)
		}
	}
}

// cost makes the one job that measures what the module costs, in so many rounds.
func (g *guest) cost(rounds string) {
	const dir, binary = "internal/source/kmod", tests + "/cost"
	g.compile(filepath.Join(repository, dir), binary, "test", "-c", ".")
	g.add(job.Job{
		Name: "cost", Dir: filepath.Join(sources, dir), Limit: jobLimit,
		Args: []string{binary, "-test.v", "-test.run", "^TestCostOfEnds$", "-test.timeout", (jobLimit - time.Minute).String()},
		Env:  []string{"TCPSTATS_KMOD=" + module, "TCPSTATS_COST=" + rounds},
	})
}

// files lists the files of each package of the receiver on a system.
func (g *guest) files(system string) map[string]string {
	g.t.Helper()
	cmd := exec.Command(tool("GO", "go"), "list", "-f", "{{.Dir}} {{.GoFiles}} {{.TestGoFiles}} {{.XTestGoFiles}}", "./...")
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	g.must(err)
	root, err := filepath.Abs(repository)
	g.must(err)
	packages := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		dir, files, _ := strings.Cut(strings.TrimSpace(line), " ")
		dir, err := filepath.Rel(root, dir)
		g.must(err)
		packages[dir] = files
	}
	return packages
}

// endToEnd makes jobs of the tests of the distribution, with the module if there is
// one, and of what docs/freebsd.md says, with the files of a package if one is named.
func (g *guest) endToEnd(tarball string) {
	const binary = tests + "/e2e"
	newcomer := tarball != "" && g.want.MatchString("newcomer")
	if !g.want.MatchString("e2e") && !newcomer {
		return
	}
	g.compile(repository+"/internal/e2e", binary, "test", "-c", ".")
	if g.hasModule {
		g.add(job.Job{Name: "kldload", Args: []string{job.Init, "kldload", module}, Limit: time.Minute})
	}
	if g.want.MatchString("e2e") {
		g.run(repository, tool("MAKE", "make"), "--no-print-directory", "cross/freebsd/amd64")
		g.copy(repository+"/_build/otelcol-tcpstats_freebsd_amd64", dist)
		g.test("e2e", "internal/e2e", binary, 0)
	}
	if newcomer {
		g.install(tarball)
		g.add(job.Job{
			Name: "newcomer", Dir: filepath.Join(sources, "internal/e2e"), Limit: jobLimit,
			Args: []string{binary, "-test.v", "-test.run", "^TestNewcomer$", "-test.timeout", (jobLimit - time.Minute).String()},
			Env:  []string{"TCPSTATS_PACKAGE=" + local, "OTELCOL_TCPSTATS=" + local + "/bin/otelcol-tcpstats"},
		})
	}
	if g.hasModule {
		g.add(job.Job{Name: "kldunload", Args: []string{job.Init, "kldunload", filepath.Base(module)}, Limit: time.Minute})
	}
}

// install puts the files of a package where pkg(8), which the guest has not, would.
func (g *guest) install(tarball string) {
	g.t.Helper()
	unpacked, stage := g.t.TempDir(), g.t.TempDir()
	g.run(".", "tar", "-xzf", tarball, "--strip-components=1", "-C", unpacked)
	g.run(unpacked, "sh", "freebsd/stage.sh", stage)
	list, err := os.ReadFile(filepath.Join(stage, "pkg-plist"))
	g.must(err)
	for line := range strings.Lines(string(list)) {
		// A keyword may come before the path.
		fields := strings.Fields(line)
		name := fields[len(fields)-1]
		to := []string{name}
		if fields[0] == "@sample" {
			to = append(to, strings.TrimSuffix(name, ".sample"))
		}
		for _, name := range to {
			path := filepath.Join(local, name)
			g.must(os.MkdirAll(filepath.Dir(g.path(path)), 0o755))
			g.copy(filepath.Join(stage, local, fields[len(fields)-1]), path)
		}
	}
}

// test adds a job that runs a test binary in the folder of its package.
func (g *guest) test(name, dir, binary string, uid int) {
	j := job.Job{
		Name: name, Dir: filepath.Join(sources, dir), UID: uid, Limit: jobLimit,
		Args: []string{binary, "-test.v", "-test.timeout", (jobLimit - time.Minute).String()},
		Env:  []string{"OTELCOL_TCPSTATS=" + dist, "TCPSTATS_ALONE=1"},
	}
	if g.hasModule {
		// Under an emulator, half of the usual time goes by before all have begun.
		j.Env = append(j.Env, "TCPSTATS_KMOD="+module, "TCPSTATS_HAMMER=40s")
	}
	g.add(j)
}

func (g *guest) add(j job.Job) {
	if g.want.MatchString(j.Name) || j.Args[0] == job.Init {
		g.jobs = append(g.jobs, j)
	}
}

// finish writes the list of jobs.
func (g *guest) finish() {
	g.t.Helper()
	list, err := json.MarshalIndent(g.jobs, "", "\t")
	g.must(err)
	g.write(job.List, string(list))
}

// compile has go make a binary for the guest.
func (g *guest) compile(dir, binary string, args ...string) {
	g.t.Helper()
	what := args[len(args)-1]
	args = append(args[:len(args)-1:len(args)-1], "-o", g.path(binary), what)
	g.run(dir, tool("GO", "go"), args...)
}

func (g *guest) run(dir, name string, args ...string) {
	g.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if name != tool("MAKE", "make") {
		cmd.Env = append(os.Environ(), "GOOS=freebsd", "GOARCH=amd64", "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("%s in %s: %v\n%s", cmd, dir, err, out)
	}
}

// copyRepository copies what tests may read.
func (g *guest) copyRepository() {
	g.t.Helper()
	g.must(filepath.WalkDir(repository, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		switch {
		case name == ".git" || name == "_build":
			if e.IsDir() {
				return fs.SkipDir
			}
		case e.IsDir():
			return os.MkdirAll(g.path(filepath.Join(sources, name)), 0o755)
		case e.Type().IsRegular():
			return copyFile(path, g.path(filepath.Join(sources, name)))
		}
		return nil
	}))
}

func (g *guest) copy(from, to string) {
	g.t.Helper()
	g.must(copyFile(from, g.path(to)))
}

// copyFile copies a file so that every user of the guest may read it and run it.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (g *guest) write(path, text string) {
	g.t.Helper()
	g.must(os.WriteFile(g.path(path), []byte(text), 0o644))
}

func (g *guest) path(inGuest string) string { return filepath.Join(g.root, inGuest) }

func (g *guest) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// tool is a tool as make names it.
func tool(variable, name string) string { return cmp.Or(os.Getenv(variable), name) }

// build returns the folder for what stays.
func build(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(repository, "_build", "freebsd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
