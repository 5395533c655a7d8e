// SPDX-License-Identifier: Apache-2.0

package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Options are what [Run] cannot know of a source.
type Options struct {
	// Unavailable reports whether an error of Open says that this host does not have
	// what the source reads, or does not allow it: the test is skipped then. nil: it
	// always has.
	Unavailable func(error) bool
}

// patience is how long a test waits for the kernel, which takes milliseconds.
const patience = 10 * time.Second

// Run tests a source on this host's own sockets, for each thing that package source
// promises.
func Run(t *testing.T, factory source.Factory, options Options) {
	c := conformance{factory: factory}
	src, err := factory.Open(t.Context())
	if err != nil && options.Unavailable != nil && options.Unavailable(err) {
		t.Skipf("%s is not to be had here: %v", factory.Name, err)
	}
	require.NoError(t, err)
	c.capabilities = src.Capabilities()
	require.NoError(t, src.Close())
	assert.NoError(t, src.Close(), "closing twice is fine")

	t.Run("capabilities", c.testCapabilities)
	t.Run("listeners", c.testListeners)
	t.Run("identities", c.testIdentities)
	t.Run("reuse", c.testReuse)
	t.Run("errors", c.testErrors)
	t.Run("narrow", c.testNarrow)
	t.Run("closes", c.testCloses)
	t.Run("namespaces", c.testNamespaces)
}

type conformance struct {
	factory      source.Factory
	capabilities source.Capabilities
}

func (c *conformance) open(t *testing.T) source.Source {
	t.Helper()
	src, err := c.factory.Open(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, src.Close()) })
	return src
}

// endpoints are a socket's local end and its peer's.
type endpoints [2]netip.AddrPort

func (e endpoints) reverse() endpoints { return endpoints{e[1], e[0]} }

func of(s *tcp.Socket) endpoints { return endpoints{s.Local, s.Peer} }

// dump returns a whole dump. Others' sockets come and go meanwhile, which some
// sources say and others do not.
func dump(t *testing.T, src source.Source, wants ...endpoints) map[endpoints]tcp.Socket {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		all, err := try(t.Context(), src)
		missing := len(wants)
		for _, want := range wants {
			if _, ok := all[want]; ok {
				missing--
			}
		}
		if source.Whole(err) && missing == 0 {
			return all
		}
		if time.Now().After(end) {
			t.Fatalf("no whole dump with %v: %d missing, %v", wants, missing, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func try(ctx context.Context, src source.Source) (map[endpoints]tcp.Socket, error) {
	all := make(map[endpoints]tcp.Socket)
	err := src.Sockets(ctx, func(s *tcp.Socket) error {
		all[of(s)] = *s
		return nil
	})
	return all, err
}

// connection is one over loopback. Both ends are this process's.
type connection struct {
	client, server *net.TCPConn
	ends           endpoints // the client's
}

// connect connects to a listener.
func connect(l net.Listener) (c connection, err error) {
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return c, err
	}
	server, err := l.Accept()
	if err != nil {
		return c, errors.Join(err, client.Close())
	}
	c.client, c.server = client.(*net.TCPConn), server.(*net.TCPConn)
	c.ends = endpoints{client.LocalAddr().(*net.TCPAddr).AddrPort(), client.RemoteAddr().(*net.TCPAddr).AddrPort()}
	return c, nil
}

func (c connection) close() error { return errors.Join(c.client.Close(), c.server.Close()) }

// listen returns a listener and its endpoints.
func listen(t *testing.T) (net.Listener, endpoints) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it
	return l, endpoints{l.Addr().(*net.TCPAddr).AddrPort(), netip.MustParseAddrPort("0.0.0.0:0")}
}

// pair returns a connection over which the client has sent 1000 bytes, of which the
// server has read 600, and the server 10.
func pair(t *testing.T) connection {
	t.Helper()
	l, _ := listen(t)
	c, err := connect(l)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.close() }) // the test may have closed it
	require.NoError(t, l.Close())
	_, err = c.client.Write(make([]byte, 1000))
	require.NoError(t, err)
	_, err = io.ReadFull(c.server, make([]byte, 600))
	require.NoError(t, err)
	_, err = c.server.Write(make([]byte, 10))
	require.NoError(t, err)
	_, err = io.ReadFull(c.client, make([]byte, 10))
	require.NoError(t, err)
	return c
}

// What the source says it gives, it gives, and no more.
func (c *conformance) testCapabilities(t *testing.T) {
	src := c.open(t)
	assert.Equal(t, c.factory.Name, src.Name())
	assert.Zero(t, c.factory.Capabilities.Missing(src.Capabilities()), "gives more than its kind: %v of %v", src.Capabilities(), c.factory.Capabilities)
	has := func(one source.Capabilities) bool { return src.Capabilities().Missing(one) == 0 }

	conn := pair(t)
	all := dump(t, src, conn.ends, conn.ends.reverse())
	for name, end := range map[string]endpoints{"client": conn.ends, "server": conn.ends.reverse()} {
		s := all[end]
		assert.Equal(t, tcp.Established, s.State, name)
		assert.Equal(t, has(source.RTT), s.Has(tcp.FieldSmoothedRTT), name)
		assert.Equal(t, has(source.Bytes), s.Has(tcp.FieldBytesSent) && s.Has(tcp.FieldBytesReceived), name)
		if has(source.Processes) {
			assert.NotZero(t, s.Inode, name)
		}
		if s.Has(tcp.FieldReceiveBufferUsage) {
			assert.Equal(t, map[string]uint32{"client": 0, "server": 400}[name], s.ReceiveBufferUsage, name)
		}
		assert.Zero(t, s.Low32&^s.Fields, "%s: narrow, and not there", name)
	}
	if has(source.Bytes) {
		client, server := all[conn.ends], all[conn.ends.reverse()]
		assert.Equal(t, [4]uint64{1000, 10, 10, 1000}, [4]uint64{client.BytesSent, client.BytesReceived, server.BytesSent, server.BytesReceived})
	}
	if has(source.Closes) {
		assert.Implements(t, (*source.CloseNotifier)(nil), src)
	}
	counters, err := src.Counters(t.Context())
	require.NoError(t, err)
	assert.Positive(t, counters.Len())
}

func (c *conformance) testListeners(t *testing.T) {
	src := c.open(t)
	l, ends := listen(t)
	s := dump(t, src, ends)[ends]
	assert.Equal(t, tcp.Listen, s.State)
	conn, err := connect(l)
	require.NoError(t, err)
	assert.NoError(t, conn.close())
	require.NoError(t, l.Close())
	assert.Eventually(t, func() bool {
		all, err := try(t.Context(), src)
		_, there := all[ends]
		return source.Whole(err) && !there
	}, patience, time.Millisecond, "a listener that is closed stays")
}

// An identity is the same in every dump, of this source and of the next, and nobody
// else's; or it is left to who remembers connections, for every socket.
func (c *conformance) testIdentities(t *testing.T) {
	src := c.open(t)
	_, listener := listen(t)
	wants := []endpoints{listener}
	for range 5 {
		conn := pair(t)
		wants = append(wants, conn.ends, conn.ends.reverse())
	}
	first := dump(t, src, wants...)
	seen := make(map[tcp.Identity]endpoints)
	for _, want := range wants {
		id := first[want].ID
		assert.Equal(t, first[listener].ID.Cookie == 0, id.Cookie == 0, "some have a cookie, others do not")
		assert.Equal(t, first[listener].ID.Namespace, id.Namespace)
		if id.Cookie != 0 {
			assert.NotContains(t, seen, id, "%v and %v", seen[id], want)
		}
		seen[id] = want
	}
	same := func(src source.Source) {
		again := dump(t, src, wants...)
		for _, want := range wants {
			assert.Equal(t, first[want].ID, again[want].ID, "%v", want)
		}
	}
	same(src)
	require.NoError(t, src.Close())
	same(c.open(t))
}

// Whatever visit does to the Socket, the next has nothing of it.
func (c *conformance) testReuse(t *testing.T) {
	src := c.open(t)
	conn := pair(t)
	_, listener := listen(t)
	wants := []endpoints{conn.ends, conn.ends.reverse(), listener}
	want := dump(t, src, wants...)
	rubbish := tcp.Socket{Fields: ^tcp.Fields(0), Low32: ^tcp.Fields(0), Role: tcp.Server, CongestionControl: "rubbish", Stack: "rubbish", Inode: 1, QueueLimit: 7}
	require.Eventually(t, func() bool {
		got := make(map[endpoints]tcp.Socket)
		err := src.Sockets(t.Context(), func(s *tcp.Socket) error {
			got[of(s)] = *s
			*s = rubbish
			return nil
		})
		if !source.Whole(err) {
			return false
		}
		for _, end := range wants {
			before, ok := want[end]
			after, there := got[end]
			if !ok || !there {
				return false
			}
			assert.Equal(t, before.Fields, after.Fields, "%v", end)
			assert.Equal(t, before.Low32, after.Low32, "%v", end)
			assert.Equal(t, before.Role, after.Role, "%v", end)
			assert.Equal(t, before.CongestionControl, after.CongestionControl, "%v", end)
			assert.Equal(t, before.Stack, after.Stack, "%v", end)
			assert.Equal(t, before.Inode, after.Inode, "%v", end)
			assert.Equal(t, before.QueueLimit, after.QueueLimit, "%v", end)
		}
		return true
	}, patience, time.Millisecond)
}

// A dump that is left ends as it was left, and harms no other.
func (c *conformance) testErrors(t *testing.T) {
	src := c.open(t)
	conn := pair(t)
	stop := fmt.Errorf("visit has had enough: %w", &source.PartialError{Type: source.ErrorDecode, Count: 1, First: io.EOF})
	for range 3 {
		visits := 0
		err := src.Sockets(t.Context(), func(*tcp.Socket) error { visits++; return stop })
		assert.Equal(t, stop, err, "visit's error is returned as it is")
		assert.Equal(t, 1, visits)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = src.Sockets(ctx, func(*tcp.Socket) error { return nil })
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, source.Partials(err), "what was cut short is not partial")
		assert.False(t, source.Whole(err))
		dump(t, src, conn.ends, conn.ends.reverse())
	}
}

// A filter may let through what it should not, but leaves out nothing that it matches,
// and no listener; counted, it leaves out nothing at all.
func (c *conformance) testNarrow(t *testing.T) {
	src := c.open(t)
	narrower, ok := src.(source.Narrower)
	if !ok {
		t.Skip("does not apply filters")
	}
	_, listener := listen(t)
	in, out := pair(t), pair(t)
	filter := &source.Filter{States: []tcp.State{tcp.Established}, LocalPorts: []source.PortRange{{First: in.ends[0].Port(), Last: in.ends[0].Port()}}}
	wants := []endpoints{listener, in.ends, in.ends.reverse(), out.ends, out.ends.reverse()}
	whole := dump(t, src, wants...)

	require.NoError(t, narrower.Narrow(filter, false))
	narrowed := dump(t, src, listener, in.ends)
	assert.Equal(t, whole[in.ends].ID, narrowed[in.ends].ID)
	assert.Equal(t, whole[in.ends].Fields, narrowed[in.ends].Fields)

	require.NoError(t, narrower.Narrow(filter, true))
	counted := dump(t, src, wants...)
	assert.Equal(t, whole[in.ends].ID, counted[in.ends].ID)
	for _, end := range wants {
		assert.Equal(t, whole[end].State, counted[end].State, "%v", end)
	}

	require.NoError(t, narrower.Narrow(nil, false))
	again := dump(t, src, wants...)
	for _, end := range wants {
		assert.Equal(t, whole[end].ID, again[end].ID, "%v", end)
	}
}
