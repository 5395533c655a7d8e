// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sysctl"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// ordinary is a user without privileges.
const ordinary = 1001

// asRoot skips a test that needs root.
func asRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: other users' processes and jails take root to make")
	}
}

func TestBootTime(t *testing.T) {
	boot, err := BootTime()
	require.NoError(t, err)
	up := time.Since(boot)
	assert.True(t, 0 < up && up < 365*24*time.Hour, "up for %s", up)
	again, err := BootTime()
	require.NoError(t, err)
	assert.Equal(t, boot, again)
}

// Our own sockets are ours, one that is duplicated too, and one that was closed
// is nobody's.
func TestResolvesOwn(t *testing.T) {
	r, err := NewResolver(Options{})
	require.NoError(t, err)
	defer r.Close()
	sockets, drop, err := hold()
	require.NoError(t, err)
	defer drop()
	all, err := lookAround()
	require.NoError(t, err)
	found := 0
	for _, s := range all {
		for _, ends := range sockets {
			if s.Ends != ends {
				continue
			}
			found++
			assert.Equal(t, int32(os.Getpid()), s.PID)
			assert.Equal(t, int32(os.Getppid()), s.Parent)
			exe, err := os.Executable()
			require.NoError(t, err)
			assert.Equal(t, filepath.Base(exe), s.Executable)
			assert.Equal(t, os.Args[0], s.Command)
			assert.Empty(t, s.Reason)
			assert.Zero(t, s.Jail)
		}
	}
	assert.Equal(t, 3, found)
}

// Who sees whose sockets, and with which owner: root, an ordinary user, one from
// whom others are hidden, and root in a jail and in one with its own vnet.
func TestWhoSeesWhat(t *testing.T) {
	asRoot(t)
	hold := func(o order, uid uint32, program string) held {
		o.Hold = true
		c := run(t, o, uid, program)
		var h held
		c.answer(&h)
		require.Len(t, h.Sockets, 3)
		return h
	}
	const program = "a-program-with-a-long-name" // longer than ki_comm
	holders := map[string]held{
		"root": hold(order{}, 0, program),
		"user": hold(order{}, ordinary, program),
		"jail": hold(order{Make: "tcpstats-jail"}, 0, program),
	}
	if vimage, err := unix.SysctlUint32("kern.features.vimage"); err == nil && vimage == 1 {
		holders["vnet"] = hold(order{Make: "tcpstats-vnet", VNet: true}, 0, program)
	} else {
		t.Log("skipped: a jail with a vnet, which this kernel does not have (options VIMAGE)")
	}

	look := func(o order, uid uint32) map[[2]netip.AddrPort]seen {
		o.Look = true
		c := run(t, o, uid, "")
		defer c.end()
		return c.look()
	}
	check := func(viewer string, sockets map[[2]netip.AddrPort]seen, inJail, confined bool, sees ...string) {
		t.Helper()
		for name, h := range holders {
			visible := false
			for _, s := range sees {
				visible = visible || s == name
			}
			for _, ends := range h.Sockets {
				got, ok := sockets[ends]
				if name == "vnet" != (viewer == "vnet") {
					continue // another network may have the same addresses
				}
				if !assert.Equal(t, visible, ok, "%s sees a socket of %s", viewer, name) || !visible {
					continue
				}
				assert.Equal(t, confined, got.Confined, viewer)
				assert.Equal(t, int32(h.PID), got.PID, "%s, of %s: %+v", viewer, name, got)
				assert.Equal(t, int32(os.Getpid()), got.Parent)
				assert.Equal(t, program, got.Executable, "%s, of %s", viewer, name)
				assert.Equal(t, "what-it-calls-itself", got.Command, "%s, of %s", viewer, name)
				assert.Empty(t, got.Reason)
				jail := int32(h.Jail)
				if inJail {
					jail = 0
				}
				assert.Equal(t, jail, got.Jail, "%s, of %s", viewer, name)
			}
		}
	}
	check("root", look(order{}, 0), false, false, "root", "user", "jail")
	check("user", look(order{}, ordinary), false, false, "root", "user", "jail")
	check("jail", look(order{Jail: holders["jail"].Jail}, 0), true, true, "jail")
	if h, ok := holders["vnet"]; ok {
		check("vnet", look(order{Jail: h.Jail}, 0), true, false, "vnet")
	}

	// What was set for everybody is set back.
	const policy = "security.bsd.see_other_uids"
	require.NoError(t, setInt(policy, 0))
	defer func() { require.NoError(t, setInt(policy, 1)) }()
	check("user with others hidden", look(order{}, ordinary), false, true, "user")
	check("root with others hidden", look(order{}, 0), false, false, "root", "user", "jail")
}

// A socket that an ordinary user may see, but not who has it.
func TestHiddenOwner(t *testing.T) {
	asRoot(t)
	r, err := NewResolver(Options{})
	require.NoError(t, err)
	defer r.Close()
	assert.False(t, hidden(), "from root nothing is")
	owner, reason := Owner{}, ReasonNone
	stats, err := r.Resolve(t.Context(), time.Now(), nil, []Claim{{Inode: 1, Owner: &owner, Reason: &reason}})
	require.NoError(t, err)
	assert.True(t, stats.Walked)
	assert.NotZero(t, stats.Processes)
	assert.NotZero(t, stats.Descriptors)
	assert.Equal(t, ReasonNoOwner, reason)
}

// A process is known until it ends; then its sockets are asked for anew.
func TestStaleOnFreeBSD(t *testing.T) {
	c := run(t, order{Hold: true}, 0, "")
	var h held
	c.answer(&h)
	r, err := NewResolver(Options{})
	require.NoError(t, err)
	defer r.Close()
	now := time.Now()
	inode := inodeOf(t, h.Sockets[0])
	owner, reason := Owner{}, ReasonNone
	claim := []Claim{{Inode: inode, Owner: &owner, Reason: &reason}}
	_, err = r.Resolve(t.Context(), now, nil, claim)
	require.NoError(t, err)
	require.NotNil(t, owner.Process)
	p := owner.Process
	assert.Equal(t, int32(h.PID), p.PID)
	assert.WithinDuration(t, time.Now(), p.Created, time.Minute)

	stale, err := r.Stale(t.Context(), now)
	require.NoError(t, err)
	assert.Empty(t, stale)
	c.end()
	stale, err = r.Stale(t.Context(), now)
	require.NoError(t, err)
	assert.True(t, stale[p])
}

func TestWalkIsCutShort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	r, err := NewResolver(Options{})
	require.NoError(t, err)
	owner, reason := Owner{}, ReasonNone
	inode := inodeOf(t, bsdEnds(l.Addr().(*net.TCPAddr).AddrPort(), netip.AddrPort{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Resolve(ctx, time.Now(), nil, []Claim{{Inode: inode, Owner: &owner, Reason: &reason}})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, ReasonPending, reason)
	require.NoError(t, r.Close())
	_, err = r.Resolve(t.Context(), time.Now(), nil, nil)
	assert.ErrorIs(t, err, os.ErrClosed)
}

// inodeOf is what joins one of the sockets that there are.
func inodeOf(t *testing.T, ends [2]netip.AddrPort) uint64 {
	t.Helper()
	for at, s := range liveSockets(t) {
		if at == ends {
			require.NotZero(t, s.Inode)
			return s.Inode
		}
	}
	t.Fatalf("no socket %v", ends)
	return 0
}

// liveSockets lists the sockets that there are, by both ends.
func liveSockets(t *testing.T) map[[2]netip.AddrPort]tcp.Socket {
	t.Helper()
	src, err := sysctl.Open(t.Context())
	require.NoError(t, err)
	defer src.Close()
	sockets := make(map[[2]netip.AddrPort]tcp.Socket)
	err = src.Sockets(t.Context(), func(s *tcp.Socket) error {
		sockets[[2]netip.AddrPort{s.Local, s.Peer}] = *s
		return nil
	})
	require.True(t, source.Whole(err), "%v", err)
	return sockets
}

// setInt sets a sysctl variable that is a C int.
func setInt(name string, v int32) error {
	key, err := unix.ByteSliceFromString(name)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall6(unix.SYS___SYSCTLBYNAME, uintptr(unsafe.Pointer(&key[0])), uintptr(len(name)),
		0, 0, uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v)); errno != 0 {
		return fmt.Errorf("set %s: %w", name, errno)
	}
	return nil
}

func BenchmarkWalkFreeBSD(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	var conns []net.Conn
	for range 500 {
		c, err := net.Dial("tcp4", l.Addr().String())
		require.NoError(b, err)
		a, err := l.Accept()
		require.NoError(b, err)
		conns = append(conns, c, a)
	}
	r, err := NewResolver(Options{})
	require.NoError(b, err)
	defer r.Close()
	var stats Stats
	b.ReportAllocs()
	for b.Loop() {
		owner, reason := Owner{}, ReasonNone
		if stats, err = r.Resolve(b.Context(), time.Now(), nil, []Claim{{Inode: 1, Owner: &owner, Reason: &reason}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*stats.Descriptors), "ns/descriptor")
	for _, c := range conns {
		c.Close()
	}
}
