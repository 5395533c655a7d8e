// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	header4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n"
	header6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
)

// fixtureStates is what testdata/make.py made: local and peer port, and the rest as
// render writes it.
var fixtureStates = []struct {
	local, peer int
	rest        string
}{
	{1000, 0, "listen held queue=0"},
	{1001, 0, "listen held queue=0"},
	{1001, 0, "listen held queue=0"},
	{1002, 0, "listen held queue=2"},
	{1004, 0, "listen held queue=0"},
	{2003, 0, "listen uid=1000 held queue=0"},
	{1002, 1100, "established tx=0 rx=0"}, // not accepted
	{1002, 1101, "established tx=0 rx=0"},
	{1100, 1002, "established held tx=0 rx=0"},
	{1101, 1002, "established held tx=0 rx=0"},
	{1102, 1002, "syn_sent held tx=0 rx=0"},
	{1004, 1104, "syn_received"},
	{1104, 1004, "established held tx=0 rx=0"},
	{1010, 1110, "established held tx=0 rx=0"},
	{1110, 1010, "established held tx=0 rx=5"},
	{1011, 1111, "established held tx=95904 rx=0"},
	{1111, 1011, "established held tx=0 rx=4096"},
	{1020, 1120, "fin_wait_2 held tx=0 rx=0"},
	{1120, 1020, "close_wait held tx=0 rx=3"},
	{1021, 1121, "fin_wait_2 held tx=0 rx=0"},
	{1121, 1021, "close_wait held tx=0 rx=0"},
	{1022, 1122, "fin_wait_2"},
	{1122, 1022, "close_wait held tx=0 rx=0"},
	{1030, 1130, "fin_wait_1 held tx=95904 rx=0"},
	{1130, 1030, "established held tx=0 rx=4096"},
	{1040, 1140, "closing held tx=95904 rx=0"},
	{1140, 1040, "fin_wait_2 held tx=0 rx=4096"},
	{1050, 1150, "last_ack tx=95904 rx=0"},
	{1150, 1050, "fin_wait_2 held tx=0 rx=4096"},
	{1060, 1160, "time_wait"},
}

func readFixture(tb testing.TB, name string) []byte {
	text, err := os.ReadFile(filepath.Join("testdata", "states", name))
	require.NoError(tb, err)
	return text
}

// writeDir makes a directory like /proc/net.
func writeDir(tb testing.TB, files map[string]string) string {
	dir := tb.TempDir()
	for name, text := range files {
		require.NoError(tb, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// openFixture opens a directory written on a little-endian host.
func openFixture(tb testing.TB, dir string) *Source {
	s, err := Open(context.Background(), dir)
	require.NoError(tb, err)
	s.order = littleEndian
	return s
}

func sockets(s *Source) (all []tcp.Socket, err error) {
	err = s.Sockets(context.Background(), func(s *tcp.Socket) error {
		all = append(all, *s)
		return nil
	})
	return all, err
}

func rendered(all []tcp.Socket) []string {
	var lines []string
	for i := range all {
		lines = append(lines, render(&all[i]))
	}
	slices.Sort(lines)
	return lines
}

func TestSocketsInEveryState(t *testing.T) {
	var want []string
	for _, s := range fixtureStates {
		any4, any6 := "127.0.0.1", "[::1]"
		if s.local == 1000 {
			any4, any6 = "0.0.0.0", "[::]"
		}
		if s.peer == 0 {
			want = append(want, fmt.Sprintf("%s:%d 0.0.0.0:0 %s", any4, s.local, s.rest), fmt.Sprintf("%s:%d [::]:0 %s", any6, s.local+10000, s.rest))
		} else {
			want = append(want, fmt.Sprintf("%s:%d 127.0.0.1:%d %s", any4, s.local, s.peer, s.rest), fmt.Sprintf("%s:%d [::1]:%d %s", any6, s.local+10000, s.peer+10000, s.rest))
		}
	}
	want = append(want,
		"127.0.0.1:20000 0.0.0.0:0 listen held queue=0",
		"127.0.0.1:20000 127.0.0.1:20100 established held tx=0 rx=0",
		"127.0.0.1:20100 127.0.0.1:20000 established held tx=0 rx=0",
	)
	slices.Sort(want)

	src := openFixture(t, "testdata/states")
	all, err := sockets(src)
	require.NoError(t, err)
	require.Equal(t, want, rendered(all))

	states := make(map[tcp.State]bool)
	for _, s := range all {
		states[s.State] = true
		require.Equal(t, tcp.Identity{}, s.ID, "/proc/net shows no cookie, and a fixture has no namespace")
	}
	require.Len(t, states, int(tcp.NumStates)-1, "all but CLOSED, which /proc/net does not show")

	again, err := sockets(src)
	require.NoError(t, err)
	require.Equal(t, all, again)
}

func TestSourceIsASource(t *testing.T) {
	f := Factory()
	require.Equal(t, "procfs", f.Name)
	require.Equal(t, 10, f.Rank)
	require.Equal(t, source.Processes|source.Namespaces, f.Capabilities)

	var src source.Source = openFixture(t, "testdata/states")
	require.Equal(t, f.Name, src.Name())
	require.Equal(t, f.Capabilities&^source.Namespaces, src.Capabilities()&^source.Namespaces)
	counters, err := src.Counters(context.Background())
	require.NoError(t, err)
	require.Equal(t, len(recipes), counters.Len())
	require.NoError(t, src.Close())
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	_, err := Open(context.Background(), t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "subset=pid")

	_, err = Open(context.Background(), writeDir(t, map[string]string{"tcp": "Active Internet connections\n"}))
	require.ErrorContains(t, err, `tcp: got "Active Internet connections\n", which is not Linux's`)

	_, err = Open(context.Background(), writeDir(t, map[string]string{"tcp": ""}))
	require.ErrorIs(t, err, io.EOF)

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Open(cancelled, "testdata/states")
	require.ErrorIs(t, err, context.Canceled)
}

func TestSocketsWithoutFiles(t *testing.T) {
	dir := writeDir(t, map[string]string{"tcp": header4})
	src := openFixture(t, dir)
	all, err := sockets(src)
	require.NoError(t, err, "no tcp6 is a host without IPv6")
	require.Empty(t, all)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "tcp6"), nil, 0o600))
	_, err = sockets(src)
	require.ErrorContains(t, err, "tcp6 is empty")

	require.NoError(t, os.Remove(filepath.Join(dir, "tcp")))
	_, err = sockets(src)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.False(t, errors.As(err, new(*source.PartialError)))
}

func TestSocketsKeepsWhatIsGood(t *testing.T) {
	line := func(slot, port int) string {
		addr := netip.MustParseAddr("192.0.2.1")
		return kernelLine(slot, netip.AddrPortFrom(addr, uint16(port)), netip.AddrPortFrom(addr, 80), 1, 0, 0, 0, 0, 7, littleEndian)
	}
	for _, test := range []struct {
		name, text string
		ports      []uint16
		lost       int
		first      string
	}{
		{name: "nothing lost", text: header4 + line(0, 1) + "\n" + line(1, 2) + "\n", ports: []uint16{1, 2}},
		{
			name: "malformed", text: header4 + line(0, 1) + "\n\nnonsense\n" + line(1, 2) + "\n", ports: []uint16{1, 2},
			lost: 2, first: `line 3 of %s, "": malformed slot`,
		},
		{
			name: "unknown state", text: header4 + strings.Replace(line(0, 1), " 01 ", " 0D ", 1) + "\n" + line(1, 2) + "\n", ports: []uint16{2},
			lost: 1, first: `line 2 of %s, "` + strings.Replace(line(0, 1), " 01 ", " 0D ", 1) + `": unknown state 13`,
		},
		{
			name: "cut off", text: header4 + line(0, 1) + "\n" + line(1, 2), ports: []uint16{1},
			lost: 1, first: `line 3 of %s, "` + line(1, 2) + `": cut off before its end`,
		},
		{
			name: "too long", text: header4 + line(0, 1) + strings.Repeat(" ", 3*bufferSize) + "\n" + line(1, 2) + "\n", ports: []uint16{2},
			lost: 1, first: `longer than 65536 bytes`,
		},
		{
			name: "too long and cut off", text: header4 + line(0, 1) + "\n" + strings.Repeat("9", 3*bufferSize), ports: []uint16{1},
			lost: 1, first: `longer than 65536 bytes`,
		},
		{name: "no header", text: line(0, 1) + "\n" + line(1, 2) + "\n", ports: []uint16{1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := writeDir(t, map[string]string{"tcp": header4})
			src := openFixture(t, dir)
			path := filepath.Join(dir, "tcp")
			require.NoError(t, os.WriteFile(path, []byte(test.text), 0o600))
			for range 2 { // losses are those of one dump
				all, err := sockets(src)
				var ports []uint16
				for _, s := range all {
					ports = append(ports, s.Local.Port())
				}
				require.Equal(t, test.ports, ports)
				if test.lost == 0 {
					require.NoError(t, err)
					continue
				}
				var partial *source.PartialError
				require.ErrorAs(t, err, &partial)
				require.Equal(t, source.ErrorDecode, partial.Type)
				require.Equal(t, test.lost, partial.Count)
				require.ErrorContains(t, partial.First, strings.ReplaceAll(test.first, "%s", path))
				require.Less(t, len(partial.First.Error()), 1000)
			}
		})
	}
}

// TestSocketsAcrossChunks cuts the files at every place where a read may end.
func TestSocketsAcrossChunks(t *testing.T) {
	src := openFixture(t, "testdata/states")
	for _, name := range []string{"tcp", "tcp6"} {
		text := bytes.Join(bytes.SplitAfter(readFixture(t, name), []byte("\n"))[:8], nil)
		read := func(r io.Reader) []tcp.Socket {
			var all []tcp.Socket
			require.NoError(t, src.readSockets(context.Background(), r, name, func(s *tcp.Socket) error {
				all = append(all, *s)
				return nil
			}))
			require.NoError(t, src.losses.Err())
			return all
		}
		want := read(bytes.NewReader(text))
		require.Equal(t, want, read(iotest.OneByteReader(bytes.NewReader(text))))
		require.Equal(t, want, read(iotest.HalfReader(bytes.NewReader(text))))
		require.Equal(t, want, read(iotest.DataErrReader(bytes.NewReader(text))))
		for n := range text {
			require.Equal(t, want, read(io.MultiReader(bytes.NewReader(text[:n]), bytes.NewReader(text[n:]))))
		}
	}
}

func TestSocketsStops(t *testing.T) {
	src := openFixture(t, "testdata/states")

	// An error that the source itself would let pass, were it its own.
	stop := &fs.PathError{Op: "visit", Err: fs.ErrNotExist}
	visits := 0
	err := src.Sockets(context.Background(), func(*tcp.Socket) error {
		visits++
		return stop
	})
	require.Same(t, stop, err)
	require.Equal(t, 1, visits)

	ctx, cancel := context.WithCancel(context.Background())
	visits = 0
	err = src.Sockets(ctx, func(*tcp.Socket) error {
		visits++
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, errors.As(err, new(*source.PartialError)))
	require.Less(t, visits, len(fixtureStates)+2, "none of tcp6")

	err = src.readSockets(context.Background(), iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(readFixture(t, "tcp")))), "tcp", nil)
	require.ErrorIs(t, err, iotest.ErrTimeout)

	all, err := sockets(src)
	require.NoError(t, err, "nothing is left of the dumps that stopped")
	require.Len(t, all, 2*len(fixtureStates)+3)
}

// writeMany makes a directory with n connections, half of each family.
func writeMany(tb testing.TB, n int) string {
	var text [2]strings.Builder
	text[0].WriteString(header4)
	text[1].WriteString(header6)
	for i := range n {
		local, peer := netip.AddrFrom4([4]byte{10, 0, 0, 1}), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if i%2 == 1 {
			local, peer = netip.MustParseAddr("2001:db8::1"), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
		}
		line := kernelLine(i/2, netip.AddrPortFrom(local, 443), netip.AddrPortFrom(peer, uint16(1024+i%60000)), 1, uint32(i), uint32(2*i), 0, 1000, uint64(100000+i), littleEndian)
		if i%2 == 0 {
			line = fmt.Sprintf("%-149s", line)
		}
		text[i%2].WriteString(line + "\n")
	}
	return writeDir(tb, map[string]string{"tcp": text[0].String(), "tcp6": text[1].String()})
}

// TestSocketsDoesNotAllocate: what a dump allocates, a few file handles, does
// not grow with the sockets.
func TestSocketsDoesNotAllocate(t *testing.T) {
	const n = 100_000
	src := openFixture(t, writeMany(t, n))
	visits := 0
	visit := func(*tcp.Socket) error {
		visits++
		return nil
	}
	const runs = 2
	allocs := testing.AllocsPerRun(runs, func() {
		if err := src.Sockets(context.Background(), visit); err != nil {
			t.Error(err)
		}
	})
	require.Equal(t, (runs+1)*n, visits)
	require.LessOrEqual(t, allocs, 20.0)
}

func BenchmarkSockets100k(b *testing.B) {
	const n = 100_000
	src := openFixture(b, writeMany(b, n))
	visit := func(*tcp.Socket) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if err := src.Sockets(context.Background(), visit); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/line")
}

func BenchmarkParseSocket(b *testing.B) {
	for _, test := range []struct{ name, addr string }{{"IPv4", "192.0.2.1"}, {"IPv6", "2001:db8::1"}} {
		b.Run(test.name, func(b *testing.B) {
			end := netip.AddrPortFrom(netip.MustParseAddr(test.addr), 443)
			line := []byte(kernelLine(12, end, end, 1, 1, 2, 0, 1000, 123456, littleEndian))
			var s tcp.Socket
			b.ReportAllocs()
			for b.Loop() {
				if err := parseSocket(line, littleEndian, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzSockets compares what comes through a small buffer in small chunks with
// the lines of the whole text.
func FuzzSockets(f *testing.F) {
	const buffer = 256
	f.Add(readFixture(f, "tcp")[:1500], uint8(7))
	f.Add(readFixture(f, "tcp6")[:1500], uint8(100))
	f.Add([]byte(header4+"   1: 0100007F:0001 0100007F:0002 01 0:0 0:0 0 0 0 7"), uint8(1))
	f.Add([]byte(header4+strings.Repeat("x", 2*buffer)+"\n"+header6), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, chunk uint8) {
		var want []tcp.Socket
		lost := 0
		src := &Source{namespace: 7, lines: bufio.NewReaderSize(nil, buffer)}
		for i, line := range bytes.SplitAfter(text, []byte("\n")) {
			var s tcp.Socket
			switch {
			case len(line) == 0:
			case line[len(line)-1] != '\n' || len(line) > buffer:
				lost++
			case i == 0 && isHeader(line):
			case parseSocket(line[:len(line)-1], littleEndian, &s) != nil:
				lost++
			default:
				s.ID = tcp.Identity{Namespace: 7}
				want = append(want, s)
			}
		}

		var got []tcp.Socket
		err := src.readSockets(context.Background(), chunkReader{bytes.NewReader(text), 1 + int(chunk)}, "tcp", func(s *tcp.Socket) error {
			got = append(got, *s)
			return nil
		})
		if len(text) == 0 {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
		var partial *source.PartialError
		if errors.As(src.losses.Err(), &partial) {
			require.Equal(t, lost, partial.Count)
		} else {
			require.Zero(t, lost)
		}
	})
}

type chunkReader struct {
	r io.Reader
	n int
}

func (c chunkReader) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }
