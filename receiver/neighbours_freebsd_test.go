// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/kmod"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sysctl"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// loopbackUp makes a jail with a network stack of its own, enters it and brings lo0 up.
func loopbackUp() error {
	if _, err := netnstest.EnterJail(jailName(os.Getpid()), true); err != nil {
		return err
	}
	return netnstest.SetAddress("lo0", [4]byte{127, 0, 0, 1}, 8)
}

func jailName(pid int) string { return fmt.Sprintf("tcpstats-%d", pid) }

// unshare does nothing: the process makes its own jail.
func unshare(*exec.Cmd) {}

// namespaceOf returns the jail of a process.
func namespaceOf(tb testing.TB, pid int) uint64 {
	src, err := kmod.Factory().Open(context.Background())
	require.NoError(tb, err)
	defer src.Close()
	stacks, err := src.(source.Spanning).Stacks(context.Background())
	require.NoError(tb, err)
	for _, s := range stacks {
		if s.Name == jailName(pid) {
			return s.Namespace
		}
	}
	require.Fail(tb, "the jail is not listed")
	return 0
}

// namespacesSupported loads the module until the end of the test.
func namespacesSupported(tb testing.TB) error {
	path := os.Getenv("TCPSTATS_KMOD")
	if path == "" || os.Getuid() != 0 {
		return errors.New("TCPSTATS_KMOD does not name the module, or this is not root")
	}
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_KLDLOAD, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
		return fmt.Errorf("load %s: %w", path, errno)
	}
	tb.Cleanup(func() { unload(tb, path) })
	return nil
}

func unload(tb testing.TB, path string) {
	name, err := unix.BytePtrFromString(filepath.Base(path))
	require.NoError(tb, err)
	id, _, errno := unix.Syscall(unix.SYS_KLDFIND, uintptr(unsafe.Pointer(name)), 0, 0)
	if errno != 0 {
		return // by the test itself
	}
	const force = 1
	_, _, errno = unix.Syscall(unix.SYS_KLDUNLOADF, id, force, 0)
	require.Zero(tb, errno)
}

// namespaceFactory makes the source that TestEveryNamespaceIsCounted reads.
func namespaceFactory() source.Factory { return kmod.Factory() }

// neighbours returns how many network stacks it makes, and connections in each: guests
// are emulated.
func neighbours() (namespaces, each int) { return 3, 400 }

// resends: what is lost on the loopback, and sent again, may be counted as sent. An
// emulated guest is slow enough for timers to expire.
const resends = true

// stuckForever counts the connections in TIME_WAIT of each network stack. FreeBSD 15.1 loses
// the timer of one in some thousand, seen with the module loaded and not in use: they
// stay, and with them their jail, which cannot die. FreeBSD 13 loses none, and there the
// end of a connection comes before TIME_WAIT.
func stuckForever(tb testing.TB) map[uint64]int64 {
	if release, err := unix.SysctlUint32("kern.osreldate"); err != nil || release < 1_400_000 {
		return nil
	}
	src, err := kmod.Factory().Open(context.Background())
	require.NoError(tb, err)
	defer src.Close()
	require.NoError(tb, src.(source.Spanning).Span())
	stuck := make(map[uint64]int64)
	require.NoError(tb, src.Sockets(context.Background(), func(s *tcp.Socket) error {
		if s.State == tcp.TimeWait && s.ID.Namespace != 0 {
			stuck[s.ID.Namespace]++
		}
		return nil
	}))
	return stuck
}

// Jails have names; and without the module there is only the collector's own network
// stack, which the log says once, until it is there again.
func TestStacksComeAndGoWithTheModule(t *testing.T) {
	next := &refusing{}
	cfg := createDefaultConfig()
	cfg.NetworkNamespaces = allNamespaces
	cfg.Process.RefreshInterval = 0
	r := newRig(t, cfg, next)
	r.factories = []source.Factory{kmod.Factory(), sysctl.Factory()}
	if err := namespacesSupported(t); err != nil {
		t.Skipf("other network stacks cannot be read: %v", err)
	}
	i := newInhabitant(t, 8080, 1, 1, 1)
	listening := func() int64 {
		next.Reset()
		r.scrapeOnce(t)
		return numbers(next, "system.network.connection.count", map[string]any{"network.connection.state": "listen"})[int64(i.id)]
	}
	require.Equal(t, int64(1), listening())
	names := map[any]any{}
	for _, p := range points(next.AllMetrics(), "system.network.connection.count") {
		names[p["network.namespace.id"]] = p["network.namespace.name"]
	}
	assert.Equal(t, map[any]any{nil: nil, int64(i.id): jailName(i.cmd.Process.Pid)}, names)

	unload(t, os.Getenv("TCPSTATS_KMOD"))
	for range 3 {
		assert.Zero(t, listening())
	}
	lines := r.logs.FilterMessageSnippet("only the collector's own network stack is read").All()
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0].ContextMap()["error"], "source sysctl: it does not read other network stacks here")
}
