// SPDX-License-Identifier: Apache-2.0

package process

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sysctl"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// bsdKernels are those in ../source/sysctl/testdata, by osreldate.
var bsdKernels = []int{1302001, 1501000}

const bsdTestdata = "../source/sysctl/testdata"

// bsdFixture returns what a kernel said.
func bsdFixture(t testing.TB, osreldate int, file string) []byte {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the fixtures are little-endian, this machine is not")
	}
	f, err := os.Open(fmt.Sprintf("%s/%d/%s.bin.gz", bsdTestdata, osreldate, file))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	return b
}

// bsdTruth is what the laboratory's processes knew of themselves.
type bsdTruth struct {
	BootTime  string
	Processes []struct {
		PID, PPID, UID, JID int32
		Argv0, Exe          string
	}
	Sockets []struct {
		PID, FD  int32
		Name     string
		Local    netip.AddrPort
		Remote   netip.AddrPort
		FDClosed bool `json:"fd_closed"`
	}
}

func readBSDTruth(t testing.TB, osreldate int) bsdTruth {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("%s/%d/truth.json", bsdTestdata, osreldate))
	require.NoError(t, err)
	var tr bsdTruth
	require.NoError(t, json.Unmarshal(b, &tr))
	return tr
}

// boot is kern.boottime in µs.
func (tr *bsdTruth) boot(t testing.TB) int64 {
	b, err := hex.DecodeString(strings.TrimPrefix(tr.BootTime, "hex:"))
	require.NoError(t, err)
	boot, err := parseTimeval(b)
	require.NoError(t, err)
	return boot
}

// bsdSockets decodes a list of sockets, by both ends.
func bsdSockets(t testing.TB, osreldate int, file string) map[[2]netip.AddrPort]tcp.Socket {
	t.Helper()
	sockets := map[[2]netip.AddrPort]tcp.Socket{}
	require.NoError(t, sysctl.NewDecoder().List(bsdFixture(t, osreldate, file), func(s *tcp.Socket) error {
		sockets[[2]netip.AddrPort{s.Local, s.Peer}] = *s
		return nil
	}))
	return sockets
}

// bsdEnds are the ends of a socket of the truth as the list has them.
func bsdEnds(local, remote netip.AddrPort) [2]netip.AddrPort {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	switch {
	case remote.IsValid():
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	case local.Addr().Is4():
		remote = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	default:
		remote = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	return [2]netip.AddrPort{local, remote}
}

// bsdProcesses parses a list of struct kinfo_proc.
func bsdProcesses(t testing.TB, osreldate int, file string, boot int64) map[int32]kinfo {
	t.Helper()
	raw := bsdFixture(t, osreldate, file)
	require.Zero(t, len(raw)%kinfoLen)
	processes := map[int32]kinfo{}
	for ; len(raw) > 0; raw = raw[kinfoLen:] {
		pid, k, hollow, err := parseKinfo(raw[:kinfoLen], boot)
		require.NoError(t, err)
		require.False(t, hollow)
		processes[pid] = k
	}
	return processes
}
