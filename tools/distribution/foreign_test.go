// SPDX-License-Identifier: Apache-2.0

package distribution

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestForeign builds collectors from manifests that are not ours and that take the
// receiver in, and runs them. Each folder has its manifest and, above it or in it,
// the go.mod that pins its ocb.
func TestForeign(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two collectors, which -short leaves out")
	}
	for _, name := range []string{"same", "newer"} {
		t.Run(name, func(t *testing.T) {
			c := buildForeign(t, name)
			// With the default initial_delay, the first scrape comes when the collector has
			// long begun to listen for signals.
			good := pipeline(t, "receivers: {tcp_stats: {connections: {enabled: true}}}")
			c.accepts(t, good)
			c.refuses(t, pipeline(t, "receivers: {tcp_stats: {connections: {limit: -1}}}"), "limit: got -1, takes")
			c.prints(t, good,
				"system.network.tcp.segments",
				"system.network.tcp.retransmits",
				"system.network.connection.count",
				"tcp.listener.queue.limit")
		})
	}
}

// buildForeign builds the collector of a folder's manifest into _build/foreign.
func buildForeign(t *testing.T, name string) collector {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, "_build", "foreign", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// GOFLAGS: a clone of another user's has no VCS stamp to give.
	cmd := exec.CommandContext(t.Context(), "go", "tool", "builder", "--config", "manifest.yaml")
	cmd.Dir = name
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false "+os.Getenv("GOFLAGS"))
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "requires go >= ") {
			t.Skipf("this collector wants a newer Go: %s", out)
		}
		t.Fatalf("build %s/manifest.yaml: %v\n%s", name, err, out)
	}
	return collector(filepath.Join(dir, "otelcol"))
}
