// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// fixtures are the kernels in testdata, by osreldate.
var fixtures = []int{1302001, 1501000}

// fixture returns what a kernel said.
func fixture(t testing.TB, osreldate int, file string) []byte {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the fixtures are little-endian, this machine is not")
	}
	f, err := os.Open(fmt.Sprintf("testdata/%d/%s.bin.gz", osreldate, file))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	return b
}

// truth is what the processes that own the sockets knew of them.
type truth struct {
	Processes []struct {
		PID, UID, JID int32
	}
	Sockets []struct {
		PID, FD   int32
		Name      string
		Local     netip.AddrPort
		Remote    netip.AddrPort
		State     string `json:"expected_state"`
		FIONREAD  uint32
		FIONWRITE uint32
		CC, Stack string
		FDClosed  bool `json:"fd_closed"`
	}
}

func readTruth(t testing.TB, osreldate int) truth {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/%d/truth.json", osreldate))
	require.NoError(t, err)
	var tr truth
	require.NoError(t, json.Unmarshal(b, &tr))
	require.NotEmpty(t, tr.Sockets)
	return tr
}

// pair is what a connection is known by: both its ends.
type pair struct{ local, peer netip.AddrPort }

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// expected makes of what a process says of its socket what the list says.
func expected(local, remote netip.AddrPort) pair {
	p := pair{unmapped(local), unmapped(remote)}
	if !remote.IsValid() {
		unspecified := netip.IPv4Unspecified()
		if p.local.Addr().Is6() {
			unspecified = netip.IPv6Unspecified()
		}
		p.peer = netip.AddrPortFrom(unspecified, 0)
	}
	return p
}

// stateName turns "FIN_WAIT_2" into "fin_wait_2".
func stateName(upper string) string {
	if upper == "SYN_RCVD" {
		return "syn_received"
	}
	return strings.ToLower(upper)
}

// list decodes a list whole, by both ends. It fails if two sockets have them.
func list(t testing.TB, d *Decoder, raw []byte) map[pair]tcp.Socket {
	t.Helper()
	sockets := make(map[pair]tcp.Socket)
	require.NoError(t, d.List(raw, func(s *tcp.Socket) error {
		key := pair{s.Local, s.Peer}
		_, twice := sockets[key]
		require.False(t, twice, "%v twice", key)
		sockets[key] = *s
		return nil
	}))
	return sockets
}

// decoder is that of a kernel.
func decoder(osreldate int) *Decoder {
	d := NewDecoder()
	d.DSACK = osreldate >= 1400000
	d.Zone = func(index uint32) string { return fmt.Sprintf("if%d", index) }
	return d
}
