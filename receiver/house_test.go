// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/netpulse/tcpstatsreceiver/"

// floors are the packages of the house, top to bottom: none imports one above it.
// Those of one floor do not import each other, save for what is inside of one.
var floors = [][]string{
	{"receiver"},
	{"internal/otlp"},
	{"internal/engine"},
	{"internal/group"},
	{"internal/table"},
	{"internal/event", "internal/peer"},
	{"internal/dns"},
	{"internal/capture/engines"},
	{"internal/capture/tcx", "internal/capture/tpacket", "internal/capture/afpacket", "internal/capture/bpfdev"},
	{"internal/capture"},
	{"internal/capture/socket"},
	{"internal/capture/filter"},
	{"internal/capture/packet"},
	{"internal/source/bpf"}, // which has sock_diag make dumps of few sockets
	{"internal/source/sockdiag", "internal/source/kmod"},
	{"internal/source/procfs", "internal/source/sysctl"},
	{"internal/source", "internal/process"},
	{"internal/tcp", "internal/netns", "internal/mib", "internal/metadata", "internal/lru", "internal/choice"},
}

// imports returns what each package of the receiver imports, tests left out.
func imports(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := make(map[string]map[string]bool)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	for _, top := range []string{"receiver", "internal"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "e2e") {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			pkg, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			if all[pkg] == nil {
				all[pkg] = make(map[string]bool)
			}
			for _, spec := range file.Imports {
				name, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				all[pkg][name] = true
			}
			return nil
		}))
	}
	return all
}

// Only one package makes OTLP, so that what is observed does not depend on how it
// is written.
func TestWhoImportsPdata(t *testing.T) {
	for pkg, names := range imports(t) {
		for name := range names {
			if strings.HasPrefix(name, "go.opentelemetry.io/collector/pdata") {
				assert.Contains(t, []string{"internal/otlp", "internal/metadata"}, pkg, "%s imports %s", pkg, name)
			}
		}
	}
}

// Data runs one way: no package imports one above it.
func TestFloors(t *testing.T) {
	floor := make(map[string]int)
	for i, packages := range floors {
		for _, pkg := range packages {
			floor[pkg] = i
		}
	}
	for pkg, names := range imports(t) {
		own, known := floor[pkg]
		for name := range names {
			other, ours := strings.CutPrefix(name, module)
			if !ours || !known {
				continue
			}
			if i, listed := floor[other]; listed {
				assert.Greater(t, i, own, "%s imports %s", pkg, other)
			}
		}
	}
}
