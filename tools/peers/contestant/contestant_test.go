// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contestant

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// batch has one sum with a point of each value.
func batch(name string, values ...int64) pmetric.Metrics {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName(name)
	points := m.SetEmptySum().DataPoints()
	for _, v := range values {
		points.AppendEmpty().SetIntValue(v)
	}
	return md
}

func TestSocketCount(t *testing.T) {
	assert.Zero(t, socketCount(batch("tcp.count", 1)))
	assert.Equal(t, 7, socketCount(batch("system.network.connection.count", 3, 4)))
}

// One pass is one scrape, and between passes there is none.
func TestScrapes(t *testing.T) {
	s, err := newReceiver(map[string]any{"source": "sock_diag"})
	require.NoError(t, err)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = s.first()
	require.NoError(t, err)
	for range 3 {
		before := s.sockets
		assert.Positive(t, before)
		sockets, err := s.pass()
		require.NoError(t, err)
		assert.Positive(t, sockets)
		usage := newOwn()
		cpu := usage.cpuTime()
		time.Sleep(50 * time.Millisecond)
		assert.Less(t, usage.cpuTime()-cpu, 25*time.Millisecond)
	}
	require.NoError(t, s.close())
}

func TestFloorSeesSockets(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f, err := newFloor()
	require.NoError(t, err)
	sockets, err := f.first()
	require.NoError(t, err)
	assert.Positive(t, sockets)
	_, err = f.pass()
	require.NoError(t, err)
	assert.Positive(t, f.cpuTime())
	require.NoError(t, f.close())
}

func TestLines(t *testing.T) {
	seen := 0
	n, err := lines(bufio.NewReader(strings.NewReader("ESTAB 0 0 a b\n\t cubic rto:204\nESTAB 0 0 c d\n\t cubic\n")), func() { seen++ })
	assert.Equal(t, 2, n)
	assert.Equal(t, 5, seen, "each line, and the end")
	assert.Error(t, err, "the end")
}

func TestPeakMemory(t *testing.T) {
	peak, err := peakMemory("self")
	require.NoError(t, err)
	assert.Greater(t, peak, int64(os.Getpagesize()))
	_, err = peakMemory("0")
	assert.Error(t, err)
}

// script is a reader that does as it is told.
type script struct{ errs []error }

func (s *script) first() (int, error) { return 42, nil }
func (s *script) close() error        { return nil }
func (s *script) pass() (sockets int, err error) {
	err, s.errs = s.errs[0], s.errs[1:]
	return 43, err
}

func TestServe(t *testing.T) {
	var out bytes.Buffer
	s := server{reader: &script{errs: []error{nil, errors.New("the kernel refuses")}}, usage: &other{peak: 7}}
	require.NoError(t, s.serve(bufio.NewScanner(strings.NewReader("pass\npass\nend\n")), json.NewEncoder(&out)))
	answers := json.NewDecoder(&out)
	for _, want := range []reply{{Usage: Usage{Sockets: 42}}, {Usage: Usage{Sockets: 43}}, {Error: "the kernel refuses"}, {PeakRSS: 7}} {
		var got reply
		require.NoError(t, answers.Decode(&got))
		assert.Equal(t, want, got)
	}
	assert.ErrorContains(t, s.serve(bufio.NewScanner(strings.NewReader("stop\n")), json.NewEncoder(&out)), `"stop"`)
}

func TestOptionsThatTheReceiverRefuses(t *testing.T) {
	_, err := newReceiver(map[string]any{"no_such_key": 1})
	assert.ErrorContains(t, err, "no_such_key")
	_, err = newReceiver(map[string]any{"source": "no_such_source"})
	assert.ErrorContains(t, err, "no_such_source")
}
