// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// step is what one read of a dump returns: datagrams made of messages that get the
// request's sequence number, or an error.
type step struct {
	messages func(seq uint32) []byte
	err      error
	length   int // that the read reports; 0: that of the datagram
}

func datagram(messages ...func(seq uint32) []byte) step {
	return step{messages: func(seq uint32) (b []byte) {
		for _, m := range messages {
			b = append(b, m(seq)...)
		}
		return b
	}}
}

func established(seq uint32) []byte {
	return message(msgTCPDiagGetSock, 2, seq, record(familyIPv4, 1))
}
func listener(seq uint32) []byte {
	return message(msgTCPDiagGetSock, 2, seq, record(familyIPv4, stateListen))
}
func interrupted(seq uint32) []byte {
	return message(msgTCPDiagGetSock, 2|flagDumpInterrupted, seq, record(familyIPv4, 1))
}
func end(seq uint32) []byte { return message(msgDone, 2, seq, errno(0)) }
func fails(code syscall.Errno) func(uint32) []byte {
	return func(seq uint32) []byte { return message(msgError, 0, seq, errno(int32(code))) }
}

// kernel answers one request after another. As the real one it refuses a dump while
// another is under way on the same socket.
type kernel struct {
	dumps  [][]step // one for each request
	states []uint32 // that were asked for
	opened int
	closed int
	dialed error
	wrote  []error // what the next writes return
}

func (k *kernel) dial() (conn, error) {
	if k.dialed != nil {
		return nil, k.dialed
	}
	k.opened++
	return &kernelConn{kernel: k}, nil
}

type kernelConn struct {
	kernel *kernel
	seq    uint32
	steps  []step
}

func (c *kernelConn) write(b []byte) error {
	k := c.kernel
	if len(k.wrote) > 0 {
		err := k.wrote[0]
		k.wrote = k.wrote[1:]
		if err != nil {
			return err
		}
	}
	seq := binary.NativeEndian.Uint32(b[8:])
	if len(c.steps) > 0 {
		// NLMSG_ERROR beside what is left of the other dump (netlink_dump_start).
		c.steps = append(c.steps, datagram(func(uint32) []byte { return fails(syscall.EBUSY)(seq) }))
		return nil
	}
	k.states = append(k.states, binary.NativeEndian.Uint32(b[requestStates:]))
	c.seq, c.steps = seq, k.dumps[0]
	k.dumps = k.dumps[1:]
	return nil
}

func (c *kernelConn) read(b []byte) (int, error) {
	if len(c.steps) == 0 {
		return 0, syscall.EAGAIN // SO_RCVTIMEO
	}
	s := c.steps[0]
	c.steps = c.steps[1:]
	if s.err != nil {
		return 0, s.err
	}
	whole := s.messages(c.seq)
	copy(b, whole)
	if s.length != 0 {
		return s.length, nil
	}
	return len(whole), nil
}

func (c *kernelConn) close() error { c.kernel.closed++; return nil }

// dumpOf returns how many sockets a dump visits, and its error.
func dumpOf(s *Source) (visited int, err error) {
	err = s.Sockets(context.Background(), func(*tcp.Socket) error { visited++; return nil })
	return visited, err
}

func TestDumps(t *testing.T) {
	good := []step{datagram(established), datagram(established, end)}
	interruption := step{err: syscall.EINTR}
	cutOff := datagram(established)
	cutOff.length = bufferLen + 1
	for name, tt := range map[string]struct {
		steps   []step
		visited int
		is      error  // in the error's chain
		says    string // in the error
		partial string // its type, if it is partial
		reopens bool   // the next dump needs another socket
	}{
		"good":                    {steps: good, visited: 2},
		"nothing there":           {steps: []step{datagram(end)}},
		"signals":                 {steps: []step{interruption, good[0], interruption, interruption, good[1]}, visited: 2},
		"cut off":                 {steps: []step{cutOff, good[1]}, visited: 2, partial: source.ErrorTruncated, says: "netlink datagram of 32769 bytes for a buffer of 32768"},
		"malformed":               {steps: []step{datagram(func(seq uint32) []byte { return message(msgTCPDiagGetSock, 2, seq, nil) }), good[1]}, visited: 1, partial: source.ErrorDecode},
		"interrupted":             {steps: []step{datagram(established, interrupted), datagram(end)}, visited: 2, is: source.ErrInterrupted},
		"interrupted at its end":  {steps: []step{good[0], datagram(func(seq uint32) []byte { return message(msgDone, 2|flagDumpInterrupted, seq, errno(0)) })}, visited: 1, is: source.ErrInterrupted},
		"no room":                 {steps: []step{good[0], {err: syscall.ENOBUFS}, good[1]}, visited: 1, is: syscall.ENOBUFS, reopens: true},
		"its end is lost":         {steps: []step{good[0]}, visited: 1, is: syscall.EAGAIN, says: "the dump did not end, and nothing came for 5 s", reopens: true},
		"busy":                    {steps: []step{datagram(fails(syscall.EBUSY))}, is: syscall.EBUSY},
		"no tcp_diag":             {steps: []step{datagram(fails(syscall.ENOENT))}, is: syscall.ENOENT, says: "modprobe tcp_diag"},
		"fails on the way":        {steps: []step{good[0], datagram(func(seq uint32) []byte { return message(msgDone, 2, seq, errno(int32(syscall.ENOMEM))) })}, visited: 1, is: syscall.ENOMEM},
		"left-overs of another's": {steps: []step{datagram(func(seq uint32) []byte { return established(seq - 1) }, established, end)}, visited: 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kernel{dumps: [][]step{tt.steps, good}}
			s := newSource(t.TempDir(), k.dial)
			visited, err := dumpOf(s)
			assert.Equal(t, tt.visited, visited)
			if tt.is == nil && tt.partial == "" {
				assert.NoError(t, err)
			}
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
				assert.False(t, source.Whole(err), "what is missing may be there still")
			}
			assert.ErrorContains(t, errors.Join(err, errors.New("")), tt.says)
			partials := source.Partials(err)
			if tt.partial == "" {
				assert.Empty(t, partials)
			} else {
				require.NotEmpty(t, partials)
				assert.Equal(t, tt.partial, partials[len(partials)-1].Type, "what was cut is malformed, too")
			}

			visited, err = dumpOf(s)
			require.NoError(t, err, "nothing is left of the one before")
			assert.Equal(t, 2, visited)
			want := 1
			if tt.reopens {
				want = 2
			}
			assert.Equal(t, want, k.opened)
			assert.Equal(t, want-1, k.closed)
			require.NoError(t, s.Close())
			require.NoError(t, s.Close(), "a second time")
			assert.Equal(t, want, k.closed)
		})
	}
}

// A kernel that is asked while a dump is under way answers EBUSY: a dump that was
// left is never followed on the same socket.
func TestDumpThatWasLeft(t *testing.T) {
	good := []step{datagram(established), datagram(established, end)}
	k := &kernel{dumps: [][]step{good, good, good}}
	s := newSource(t.TempDir(), k.dial)
	stop := errors.New("stop")
	require.Equal(t, stop, s.Sockets(context.Background(), func(*tcp.Socket) error { return stop }), "as it is")
	ctx, cancel := context.WithCancel(context.Background())
	visited := 0
	require.ErrorIs(t, s.Sockets(ctx, func(*tcp.Socket) error { visited++; cancel(); return nil }), context.Canceled)
	assert.Equal(t, 1, visited)
	visited, err := dumpOf(s)
	require.NoError(t, err)
	assert.Equal(t, 2, visited)
	assert.Equal(t, 3, k.opened)
}

func TestRequestsThatFail(t *testing.T) {
	good := []step{datagram(established, end)}
	k := &kernel{dumps: [][]step{good, good}, wrote: []error{syscall.EINTR, syscall.EINTR, nil, syscall.ENOBUFS}}
	s := newSource(t.TempDir(), k.dial)
	visited, err := dumpOf(s)
	require.NoError(t, err)
	assert.Equal(t, 1, visited)
	_, err = dumpOf(s)
	require.ErrorIs(t, err, syscall.ENOBUFS)
	k.dialed = errors.New("no more descriptors")
	_, err = dumpOf(s)
	require.ErrorIs(t, err, k.dialed)
	_, err = dumpOf(s)
	require.ErrorIs(t, err, k.dialed, "and again, without a socket")
	k.dialed = nil
	visited, err = dumpOf(s)
	require.NoError(t, err)
	assert.Equal(t, 1, visited)
	require.NoError(t, s.Close())
	assert.Equal(t, k.opened, k.closed)
}

// A namespace without connections is not dumped again until something happens there.
func TestQuietNamespace(t *testing.T) {
	const listenersOnly = 1 << stateListen
	const connectionsOnly = allStates &^ listenersOnly
	dir := t.TempDir()
	activity := func(sockets, timeWait, segments string) {
		for name, text := range map[string]string{
			"sockstat":  "TCP: inuse " + sockets + " orphan 0 tw " + timeWait + " alloc 9 mem 1\n",
			"sockstat6": "TCP6: inuse 0\n",
			"snmp":      "Tcp: InSegs OutSegs\nTcp: " + segments + " 0\n",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
	}
	k := &kernel{}
	s := newSource(dir, k.dial)
	dump := func(t *testing.T, visits int, answers ...[]step) []uint32 {
		t.Helper()
		k.dumps, k.states = answers, nil
		visited, err := dumpOf(s)
		require.NoError(t, err)
		assert.Equal(t, visits, visited)
		assert.Empty(t, k.dumps)
		return k.states
	}
	one, none, busy := []step{datagram(listener, end)}, []step{datagram(end)}, []step{datagram(established, listener, end)}

	activity("1", "0", "100")
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one), "nobody has looked yet")
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one), "nor when that was quiet")
	for range 3 {
		assert.Equal(t, []uint32{listenersOnly}, dump(t, 1, one), "nothing has happened since")
	}
	activity("1", "0", "101")
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one), "a segment: there may be an embryo")
	assert.Equal(t, []uint32{listenersOnly}, dump(t, 1, one))
	activity("2", "0", "101")
	assert.Equal(t, []uint32{allStates}, dump(t, 2, busy), "one more socket")
	assert.Equal(t, []uint32{allStates}, dump(t, 2, busy), "there are connections")
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one), "there are none any more")
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one))
	assert.Equal(t, []uint32{listenersOnly, connectionsOnly}, dump(t, 0, none, none), "a listener less than sockets: what is the other?")
	activity("2", "1", "101")
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one), "TIME_WAIT")
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one))

	activity("1", "0", "101")
	dump(t, 1, one)
	dump(t, 1, one)
	require.NoError(t, s.Narrow(&source.Filter{States: []tcp.State{tcp.Established}}, false))
	assert.Equal(t, []uint32{listenersOnly, 1 << 1}, dump(t, 1, one, none), "a filter sees a part only")
	require.NoError(t, s.Narrow(nil, false))
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one), "so all are looked at again")

	dump(t, 1, one)
	require.NoError(t, os.Remove(filepath.Join(dir, "snmp")))
	assert.Equal(t, []uint32{allStates}, dump(t, 1, one), "without /proc/net there is only the whole dump")
}
