// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// endsInJail is what a child in a jail does: three connections begin and end,
// and it counts the ends that it sees.
func endsInJail(kind string) (r report, err error) {
	vnet := strings.HasPrefix(kind, "vnet")
	jid, err := netnstest.EnterJail(fmt.Sprintf("tcpstats-%s-%d", kind, os.Getpid()), vnet)
	if err != nil {
		return r, err
	}
	r.Jail = uint32(jid)
	if vnet {
		if err := netnstest.SetAddress("lo0", [4]byte{127, 0, 0, 1}, 8); err != nil {
			return r, err
		}
	}
	c, err := openCloses(deviceEnds)
	if err != nil && !strings.HasSuffix(kind, "hammer") {
		return r, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	for range 3 {
		client, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return r, err
		}
		server, err := l.Accept()
		if err != nil {
			return r, err
		}
		// Each side sends something, which is how a process is seen with it.
		if err := errors.Join(greet(client, server), greet(server, client)); err != nil {
			return r, err
		}
		reset(client.(*net.TCPConn))
		end(server.(*net.TCPConn))
	}
	if c == nil {
		return r, nil
	}
	time.Sleep(300 * time.Millisecond)
	_, err = c.Drain(func(*tcp.Notice) error { r.Ends++; return nil })
	if strings.HasSuffix(kind, "hammer") {
		err = nil // the module may be gone
	}
	return r, err
}

func greet(from, to net.Conn) error {
	if _, err := from.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := io.ReadFull(to, make([]byte, 5))
	return err
}

// spawn runs a child that needs nothing of the module to its end.
func spawn(kind string) (r report, err error) {
	exe, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+kind)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output() // its standard input is empty: it does not wait
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}

// A jail sees the ends of its own connections alone. The host sees those of jails
// that share its network, and those of vnets if it asks for them.
func TestEndsInJails(t *testing.T) {
	module(t)
	for _, tt := range []struct {
		kind         string
		all          bool
		wantOfJail   int
		namespace    bool
		alsoTheHosts bool
	}{
		{kind: "jail-ends", wantOfJail: 6},
		{kind: "vnet-ends", wantOfJail: 0},
		{kind: "vnet-ends", all: true, wantOfJail: 6, namespace: true},
	} {
		t.Run(fmt.Sprintf("%s, all %v", tt.kind, tt.all), func(t *testing.T) {
			host := openEnds(t)
			if tt.all {
				require.NoError(t, span(host.file))
			}
			client, server := pair(t, "tcp", "127.0.0.1:0", nil)
			reset(client)
			end(server)
			r, err := spawn(tt.kind)
			require.NoError(t, err)
			if strings.HasPrefix(tt.kind, "vnet") && strings.Contains(r.Err, "jail_set") {
				t.Skipf("this kernel has no vnets: %s", r.Err)
			}
			require.Empty(t, r.Err)
			assert.Equal(t, 6, r.Ends, "the jail sees its own, and not the host's")
			ours, ofJail := 0, 0
			_, err = host.Drain(func(n *tcp.Notice) error {
				switch {
				case n.ID.Namespace == uint64(r.Jail) && tt.namespace, !tt.namespace && n.Holder != nil && n.Holder.PID != int32(os.Getpid()):
					ofJail++
				default:
					ours++
				}
				return nil
			})
			require.NoError(t, err)
			assert.Equal(t, tt.wantOfJail, ofJail)
			assert.Equal(t, 2, ours)
		})
	}
}
