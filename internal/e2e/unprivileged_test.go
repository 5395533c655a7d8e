// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
)

// nobody is a user without any privilege.
const nobody = 65534

// TestUnprivileged runs the collector as a user without privileges. It sees all
// sockets with all their numbers, but only that user's processes.
func TestUnprivileged(t *testing.T) {
	user := nobody
	merged := 1 // of root's two listeners on one port
	if os.Geteuid() != 0 {
		skip(t, "OthersProcesses", "not root: there is no second user to be")
		user, merged = 0, 0
	}
	cast := newCast(t, 0, user)
	c := startCollector(t, every(quick, "connections: {enabled: true, limit: 0}, "+everyState+everything(t)), user)
	v := watch(t, c, cast)
	t.Run("Known", v.known)
	t.Run("States", v.states)
	t.Run("Counters", v.counters)
	t.Run("Owners", func(t *testing.T) {
		for _, k := range v.cast.Known {
			switch c := v.scrape.Connections[k.Tuple]; {
			case c == nil: // Known has told
			case k.Held == nil || user == nobody && k.Held.Process == cast.Server:
				assert.Empty(t, c.Resource, "%s: no process, or one that may not be looked into", k.What)
			default:
				ofProcess(t, k.What, k.Held.Process, c.Resource)
			}
		}
	})
	p := readPages(t, c)
	t.Run("Telemetry", func(t *testing.T) { p.telemetry(t, "sock_diag", merged) })
	t.Run("Told", func(t *testing.T) {
		assert.Len(t, c.log.entries(missingCapabilities), 1, "one line that says what to grant")
		if user != nobody {
			return
		}
		var held, others float64
		for _, k := range cast.Known {
			switch {
			case k.Held == nil:
				others++
			case k.Held.Process == cast.Server:
				held++
			}
		}
		unattributed := func(reason string) float64 {
			return p.own[sample(ownPrefix+"unattributed_sockets", map[string]string{"error_type": reason})]
		}
		assert.GreaterOrEqual(t, unattributed("no_permission"), held+float64(len(cast.Listeners)), "sockets of root's processes")
		assert.GreaterOrEqual(t, unattributed("no_owner"), others, "sockets of no process")
	})
}
