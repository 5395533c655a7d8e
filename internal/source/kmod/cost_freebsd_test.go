// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCostOfEnds measures what connections and segments cost without the module, with
// it and nobody reading ends, and with a reader, in turns: TCPSTATS_COST says how many.
// Each turn does the same work, so that where time is a count of instructions, as `make
// test-freebsd COST=…` has it, the differences are the module's.
func TestCostOfEnds(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("TCPSTATS_COST"))
	if err != nil {
		t.Skip("nobody asks what it costs: TCPSTATS_COST does not say how many rounds")
	}
	path := module(t)
	tcpListener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcpListener.Close()
	l := &listener{Listener: tcpListener}
	each := func(times int, work func() error) float64 {
		began := time.Now()
		for range times {
			require.NoError(t, work())
		}
		return float64(time.Since(began)) / float64(times)
	}
	measure := func() (connection, exchange float64) {
		runtime.GC() // not in the middle
		connection = each(300, func() error {
			client, server, err := l.pair("tcp4")
			if err == nil {
				reset(client)
				err = server.Close()
			}
			return err
		})
		client, server, err := l.pair("tcp4")
		require.NoError(t, err)
		defer client.Close()
		defer server.Close()
		b := make([]byte, 1)
		return connection, each(2000, func() error {
			for _, step := range []func() (int, error){
				func() (int, error) { return client.Write(b) }, func() (int, error) { return io.ReadFull(server, b) },
				func() (int, error) { return server.Write(b) }, func() (int, error) { return io.ReadFull(client, b) },
			} {
				if _, err := step(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	modes := []string{"without the module", "nobody reads", "one reads"}
	connections, exchanges := map[string][]float64{}, map[string][]float64{}
	for round := range rounds {
		for i := range modes {
			mode := modes[(round+i)%len(modes)] // each is first as often as the others
			var c *collector
			switch mode {
			case "without the module":
				id, err := kldfind(path)
				require.NoError(t, err)
				require.NoError(t, kldunload(id, false))
			case "one reads":
				c = collect(t)
			}
			connection, exchange := measure()
			connections[mode], exchanges[mode] = append(connections[mode], connection), append(exchanges[mode], exchange)
			if c != nil {
				c.stop()
			} else if mode == "without the module" {
				require.NoError(t, kldload(path))
			}
		}
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	without := modes[0]
	for _, mode := range modes {
		connection, exchange := median(connections[mode]), median(exchanges[mode])
		t.Logf("%s: %.0f ns a connection, %.3f of the rate without; %.0f ns an exchange, %.3f", mode,
			connection, median(connections[without])/connection, exchange, median(exchanges[without])/exchange)
	}
}
