package kmod

import (
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCostOfEnds measures connections and segments a second without the module,
// with it and nobody reading ends, and with a reader, in turns: TCPSTATS_COST says
// how many.
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
	const turn = time.Second
	rate := func(work func() error) float64 {
		n := 0
		began := time.Now()
		for time.Since(began) < turn {
			require.NoError(t, work())
			n++
		}
		return float64(n) / time.Since(began).Seconds()
	}
	measure := func() (connections, segments float64) {
		connections = rate(func() error {
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
		return connections, rate(func() error {
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
	connections, segments := map[string][]float64{}, map[string][]float64{}
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
			conns, segs := measure()
			connections[mode], segments[mode] = append(connections[mode], conns), append(segments[mode], segs)
			if c != nil {
				c.stop()
			} else if mode == "without the module" {
				require.NoError(t, kldload(path))
			}
		}
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	for _, mode := range modes {
		t.Logf("%s: %.0f connections/s (%.2f of without), %.0f exchanges/s (%.2f)", mode,
			median(connections[mode]), median(connections[mode])/median(connections[modes[0]]),
			median(segments[mode]), median(segments[mode])/median(segments[modes[0]]))
	}
}
