// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/route"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/mib"
)

// TestRecord prints what this kernel says, and what is known of it from elsewhere, for
// testdata: on a kernel just booted, with nothing else running, and
// TCPSTATS_RECORD=1. testdata/README.md says how it gets there.
func TestRecord(t *testing.T) {
	if os.Getenv("TCPSTATS_RECORD") == "" {
		t.Skip("nothing is recorded without TCPSTATS_RECORD=1")
	}
	known := truth{Zones: make(map[string]zoneTruth), PID: int32(os.Getpid()), Closed: [2]uint64{3, 5}, Open: 7}
	var err error
	known.OSRelDate, err = mib.Version()
	require.NoError(t, err)
	defer unix.Close(device(t))
	for i, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		closed, open := closedPort(t, address)
		datagrams(t, closed, int(known.Closed[i]))
		datagrams(t, open.LocalAddr().String(), int(known.Open))
	}
	r := NewReader()
	print := func(name string, content []byte) {
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		require.NoError(t, err)
		_, err = z.Write(content)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		text := base64.StdEncoding.EncodeToString(packed.Bytes())
		for at := 0; at < len(text); at += 100 {
			fmt.Printf("@@%s %s\n", name, text[at:min(at+100, len(text))])
		}
	}
	for _, name := range strings.Fields(`net.inet.udp.stats net.inet.ip.stats net.inet6.ip6.stats net.inet.icmp.stats
		net.inet6.icmp6.stats net.isr.proto net.isr.work net.bpf.stats vm.zone_stats ` + interfaceList) {
		raw, err := r.variable(t.Context(), name)
		require.NoError(t, err)
		print(name+".bin.gz", raw)
	}
	for _, name := range mbufZones {
		b, err := unix.SysctlRaw("vm.uma." + name + ".stats.current")
		require.NoError(t, err)
		fails, err := unix.SysctlUint64("vm.uma." + name + ".stats.fails")
		require.NoError(t, err)
		known.Zones[name] = zoneTruth{uint64(binary.NativeEndian.Uint32(b)), fails}
	}
	known.Clusters = limit(t, "kern.ipc.nmbclusters")
	known.IPQueue = limit(t, "net.inet.ip.intr_queue_maxlen")
	rib, err := route.FetchRIB(unix.AF_UNSPEC, route.RIBTypeRoute, 0)
	require.NoError(t, err)
	messages, err := route.ParseRIB(route.RIBTypeRoute, rib)
	require.NoError(t, err)
	known.Routes = uint64(len(messages))
	text, err := json.MarshalIndent(known, "", "\t")
	require.NoError(t, err)
	print("truth.json.gz", append(text, '\n'))
}
