// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// audit is the kernel's check of a program (net/ipv4/inet_diag.c
// inet_diag_bc_audit): operations follow each other by yes, and no leads to one
// of them, to the end, or 4 bytes beyond it.
func audit(t *testing.T, code []byte) {
	t.Helper()
	starts := map[int]bool{len(code): true, len(code) + 4: true}
	var wants []int
	for at := 0; at < len(code); {
		starts[at] = true
		require.GreaterOrEqual(t, len(code)-at, opLen)
		yes, no := int(code[at+1]), int(binary.NativeEndian.Uint16(code[at+2:]))
		least := opLen
		switch code[at] {
		case opLocalFrom, opLocalUpTo, opPeerFrom, opPeerUpTo:
			least = 2 * opLen
		case opPeerPrefix:
			least = opLen + hostCondLen + 4
			if code[at+opLen] == familyIPv6 {
				least += 12
			}
		}
		require.GreaterOrEqual(t, yes, least)
		require.Zero(t, yes%4)
		require.GreaterOrEqual(t, no, opLen)
		require.Zero(t, no%4)
		wants = append(wants, at+no)
		at += yes
	}
	for _, to := range wants {
		require.True(t, starts[to], "a jump to %d, which is no operation", to)
	}
}

// run is what the kernel does with a program (inet_diag_bc_run).
func run(code []byte, s *tcp.Socket) bool {
	at := 0
	for at < len(code) {
		yes := true
		number := func() uint16 { return binary.NativeEndian.Uint16(code[at+opLen+2:]) }
		switch code[at] {
		case opJump:
			yes = false
		case opLocalFrom:
			yes = s.Local.Port() >= number()
		case opLocalUpTo:
			yes = s.Local.Port() <= number()
		case opPeerFrom:
			yes = s.Peer.Port() >= number()
		case opPeerUpTo:
			yes = s.Peer.Port() <= number()
		case opPeerPrefix:
			cond := code[at+opLen:]
			length := 4
			if cond[0] == familyIPv6 {
				length = 16
			}
			addr, _ := netip.AddrFromSlice(cond[hostCondLen : hostCondLen+length])
			yes = netip.PrefixFrom(addr, int(cond[1])).Contains(s.Peer.Addr().WithZone(""))
		}
		if yes {
			at += int(code[at+1])
		} else {
			at += int(binary.NativeEndian.Uint16(code[at+2:]))
		}
	}
	return at == len(code)
}

// Whatever the filter and the connection, the program says what the filter says.
func TestProgramsMatchLikeFilters(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	addresses := []string{"10.0.0.1", "10.1.2.3", "192.0.2.7", "2001:db8::1", "2001:db8:0:1::5", "fe80::1", "fe80::1%eth0", "::1"}
	prefixes := []string{"10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32", "2001:db8:0:1::/64", "fe80::/10", "::/0", "::1"}
	ranges := func() (some []source.PortRange) {
		for range random.IntN(4) {
			first := uint16(1 + random.IntN(10))
			some = append(some, source.PortRange{First: first, Last: first + uint16(random.IntN(4))})
		}
		return some
	}
	networks := func() (some []netip.Prefix) {
		for range random.IntN(4) {
			p, err := source.ParsePrefix(prefixes[random.IntN(len(prefixes))])
			require.NoError(t, err)
			some = append(some, p)
		}
		return some
	}
	endpoint := func() netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(addresses[random.IntN(len(addresses))]), uint16(1+random.IntN(14)))
	}
	matched := 0
	for range 5000 {
		f := &source.Filter{LocalPorts: ranges(), PeerPorts: ranges(), PeerInclude: networks(), PeerExclude: networks()}
		code := compile(f)
		if !f.Any() {
			require.Nil(t, code)
			continue
		}
		audit(t, code)
		for range 20 {
			s := &tcp.Socket{State: tcp.Established, Local: endpoint(), Peer: endpoint()}
			require.Equal(t, f.Match(s), run(code, s), "%v of %v", f, s)
			if f.Match(s) {
				matched++
			}
		}
	}
	assert.Greater(t, matched, 1000, "the test has something to tell")
}

func TestAFilterTooLongForAProgram(t *testing.T) {
	f := &source.Filter{}
	for i := range 3000 {
		f.LocalPorts = append(f.LocalPorts, source.PortRange{First: uint16(i), Last: uint16(i)})
	}
	assert.Nil(t, compile(f))
}
