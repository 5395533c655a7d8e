// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func watched(t testing.TB) *closes {
	t.Helper()
	return closesOf(t, opened(t))
}

func closesOf(t testing.TB, s source.Source) *closes {
	t.Helper()
	require.Zero(t, s.Capabilities().Missing(source.Closes))
	stream, err := s.(source.CloseNotifier).Closes()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, stream.Close()) })
	return stream.(*closes)
}

// noticesOf waits for the notices of some sockets.
func noticesOf(t testing.TB, c *closes, of ...pair) map[pair]tcp.Notice {
	t.Helper()
	all := make(map[pair]tcp.Notice)
	for deadline := time.Now().Add(5 * time.Second); len(all) < len(of) && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		lost, err := c.Drain(func(n *tcp.Notice) error {
			for _, p := range of {
				if p == (pair{n.Local, n.Peer}) {
					assert.NotContains(t, all, p, "visited twice")
					all[p] = *n
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, lost)
	}
	for _, p := range of {
		require.Contains(t, all, p)
	}
	return all
}

// Every way that a connection may end, with its bytes: no FIN and no SYN is one.
func TestCloses(t *testing.T) {
	const sent, answered = 777, 100
	end := map[string]func(t *testing.T, client, server *net.TCPConn){
		"client first": func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.Close())
			_, err := io.Copy(io.Discard, server)
			require.NoError(t, err)
			require.NoError(t, server.Close())
		},
		"server first": func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, server.Close())
			_, err := io.Copy(io.Discard, client)
			require.NoError(t, err)
			require.NoError(t, client.Close())
		},
		"both shut down": func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.CloseWrite())
			require.NoError(t, server.CloseWrite())
			_, err := io.Copy(io.Discard, client)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, server)
			require.NoError(t, err)
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
		},
		"client resets": func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.SetLinger(0))
			require.NoError(t, client.Close())
			_, err := io.Copy(io.Discard, server)
			require.Error(t, err)
			require.NoError(t, server.Close())
		},
		"server resets": func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, server.SetLinger(0))
			require.NoError(t, server.Close())
			_, err := io.Copy(io.Discard, client)
			require.Error(t, err)
			require.NoError(t, client.Close())
		},
	}
	executable, err := os.Executable()
	require.NoError(t, err)
	s, c := opened(t), watched(t)
	pid := int32(os.Getpid())
	if inHostPIDs() != nil {
		pid = 0
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for name, end := range end {
			t.Run(name+" "+address, func(t *testing.T) {
				client, server := connect(t, address)
				_, err := client.Write(make([]byte, sent))
				require.NoError(t, err)
				_, err = io.ReadFull(server, make([]byte, sent))
				require.NoError(t, err)
				_, err = server.Write(make([]byte, answered))
				require.NoError(t, err)
				_, err = io.ReadFull(client, make([]byte, answered))
				require.NoError(t, err)
				ofClient, ofServer := endpoints(client), endpoints(server)
				established := time.Now()
				before := sockets(t, s)
				end(t, client, server)

				after := noticesOf(t, c, ofClient, ofServer)
				for p, bytes := range map[pair][2]uint64{ofClient: {sent, answered}, ofServer: {answered, sent}} {
					got := after[p]
					assert.Equal(t, before[p].ID, got.ID)
					assert.Equal(t, tcp.Closed, got.State)
					assert.True(t, got.WithoutFINs)
					require.True(t, got.Has(tcp.FieldAge))
					assert.Positive(t, got.Age)
					assert.Less(t, got.Age, time.Since(established)+5*time.Second)
					assert.Equal(t, tcp.NoFailure, got.Failure)
					assert.Equal(t, bytes, [2]uint64{got.BytesSent, got.BytesReceived})
					assert.Equal(t, uint32(os.Getuid()), got.UID)
					assert.Zero(t, got.Inode)
					if p == ofServer && name == "client resets" {
						// It ended while nobody was at it.
						assert.Nil(t, got.Holder)
						continue
					}
					require.NotNil(t, got.Holder)
					assert.Equal(t, pid, got.Holder.PID)
					assert.Equal(t, uint32(os.Getuid()), got.Holder.UID)
					assert.Equal(t, filepath.Base(executable), got.Holder.Executable)
				}
				// The acknowledged SYN is a byte to the kernel, the FIN is none here.
				if name != "client resets" && name != "server resets" {
					assert.Equal(t, uint64(sent+1), after[ofClient].BytesAcked)
					assert.Equal(t, uint64(answered), after[ofServer].BytesAcked)
				}
			})
		}
	}
}

// A ring that is too small loses records, and says so.
func TestClosesThatAreLost(t *testing.T) {
	s := opened(t)
	stream, err := s.Closes()
	require.NoError(t, err)
	defer func() { assert.NoError(t, stream.Close()) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	const n = ringLen/recordLen/2 + 100 // both ends
	for range n {
		client, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		server, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, client.(*net.TCPConn).SetLinger(0))
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	told := uint64(0)
	lost, err := stream.Drain(func(s *tcp.Notice) error {
		if s.Local.Port() == port || s.Peer.Port() == port {
			told++
		}
		return nil
	})
	require.NoError(t, err)
	assert.Positive(t, lost)
	assert.GreaterOrEqual(t, told+lost, uint64(2*n), "nothing is lost untold")
	lost, err = stream.Drain(func(*tcp.Notice) error { return nil })
	require.NoError(t, err)
	assert.Zero(t, lost, "told once")
	require.NoError(t, l.Close())
}

// Nobody connects to a listener that is full, or to a port that has none.
func TestConnectionsThatNeverCame(t *testing.T) {
	c := watched(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, l.Close())
	_, err = net.Dial("tcp", address.String())
	require.Error(t, err)
	seen := 0
	for deadline := time.Now().Add(5 * time.Second); seen < 2 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		_, err := c.Drain(func(s *tcp.Notice) error {
			switch address {
			case s.Local:
				seen++
				assert.Zero(t, s.Peer.Port(), "the listener")
			case s.Peer:
				seen++
				assert.Equal(t, tcp.Refused, s.Failure)
			}
			return nil
		})
		require.NoError(t, err)
	}
}

// A watch that cannot be opened to its end gives back what was opened, and says why.
func TestAWatchThatIsNotOpenedToItsEnd(t *testing.T) {
	s := opened(t)
	refused := errors.New("no more")
	s.iterator.uses, s.iterator.refused = 0, refused
	c, err := s.closes(os.Getpagesize())
	s.iterator.uses, s.iterator.refused = 1, nil
	assert.Nil(t, c)
	assert.ErrorIs(t, err, refused)
}
