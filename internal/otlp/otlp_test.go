// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/beneath"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	boot  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	began = boot.Add(time.Hour)
	now   = began.Add(20 * time.Second)
)

// everything enables all metrics and resource attributes.
func everything() metadata.MetricsBuilderConfig {
	cfg := metadata.NewDefaultMetricsBuilderConfig()
	enable(reflect.ValueOf(&cfg.Metrics).Elem())
	enable(reflect.ValueOf(&cfg.ResourceAttributes).Elem())
	return cfg
}

func enable(settings reflect.Value) {
	for i := range settings.NumField() {
		settings.Field(i).FieldByName("Enabled").SetBool(true)
	}
}

func newWriter(cfg metadata.MetricsBuilderConfig) *Writer {
	set := receivertest.NewNopSettings(metadata.Type)
	set.BuildInfo.Version = "1.2.3"
	return NewWriter(cfg, set, boot)
}

// full is a socket of which everything is known: each value is another one.
func full() tcp.Socket {
	s := tcp.Socket{
		ID:    tcp.Identity{Cookie: 1},
		Local: netip.MustParseAddrPort("192.0.2.1:443"), Peer: netip.MustParseAddrPort("198.51.100.7:50000"),
		State: tcp.Established,
	}
	for f := range tcp.NumFields {
		s.Fields = s.Fields.With(f)
	}
	v := reflect.ValueOf(&s).Elem()
	i := -1 // of the fields but Stack
	for field := range v.NumField() {
		name := v.Type().Field(field).Name
		if name != "Stack" {
			i++
		}
		switch f := v.Field(field); name {
		case "ID", "Local", "Peer", "Inode", "UID", "State", "Role", "Fields", "Low32", "CongestionControl", "Stack":
		default:
			switch {
			case f.CanInt():
				f.SetInt(int64(time.Duration(i) * time.Millisecond))
			case f.CanUint():
				f.SetUint(uint64(1000 + i))
			}
		}
	}
	s.BusyTime = s.ReceiveWindowLimited + s.SendBufferLimited + time.Second
	return s
}

var nginx = &process.Process{
	PID: 812, ParentPID: 1, Executable: "nginx", Command: "nginx:", Owner: "www-data",
	Created: boot.Add(1234560 * time.Millisecond), Cgroup: "/system.slice/nginx.service", ContainerID: strings.Repeat("0f", 32),
}

func connection(s tcp.Socket, p *process.Process) *table.Connection {
	remembered := table.New(table.Options{Boot: began.Add(-10 * time.Second), Detailed: true, Slots: &table.Slots{}})
	remembered.Begin(began)
	remembered.Observe(&s)
	c := remembered.Find(s.ID)
	c.Owner.Process = p
	return c
}

func collect(t *testing.T, w *Writer, size int, connections ...*table.Connection) []pmetric.Metrics {
	t.Helper()
	w.SortByHolder(connections)
	var batches []pmetric.Metrics
	for chunk := range slices.Chunk(connections, size) {
		if md := w.Connections(chunk, now); md.ResourceMetrics().Len() > 0 {
			batches = append(batches, md)
		}
	}
	return batches
}

// golden compares with a file of OTLP/JSON, indented so that a difference can
// be read. The contrib module's helper of that name needs a newer pdata than
// the one we pin.
func golden(t *testing.T, md pmetric.Metrics) {
	t.Helper()
	raw, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
	require.NoError(t, err)
	var tree any
	require.NoError(t, json.Unmarshal(raw, &tree))
	got, err := json.MarshalIndent(tree, "", " ")
	require.NoError(t, err)
	got = append(got, '\n')
	file := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "_")+".json")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

// names maps each metric to its number of points.
func names(md pmetric.Metrics) map[string]int {
	all := make(map[string]int)
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				all[m.Name()] += numberOfPoints(m)
			}
		}
	}
	return all
}

func TestGolden(t *testing.T) {
	t.Run("connections", func(t *testing.T) {
		v6 := full()
		v6.Local, v6.Peer = netip.MustParseAddrPort("[fe80::1%eth0]:22"), netip.MustParseAddrPort("[fe80::2%eth0]:1025")
		timeWait := tcp.Socket{State: tcp.TimeWait, Local: netip.MustParseAddrPort("192.0.2.1:443"), Peer: netip.MustParseAddrPort("198.51.100.8:50001")}
		batches := collect(t, newWriter(everything()), 10, connection(full(), nginx), connection(timeWait, nil), connection(v6, nginx))
		require.Len(t, batches, 1)
		golden(t, batches[0])
	})
	t.Run("system", func(t *testing.T) {
		w := newWriter(everything())
		var counters tcp.Counters
		for c := range tcp.NumCounters {
			counters.Set(c, uint64(1000+int(c)))
		}
		var states tcp.States
		for s := range states {
			states[s] = int64(s)
		}
		listener := tcp.Socket{State: tcp.Listen, Local: netip.MustParseAddrPort("[::]:443"), QueueLength: 3, QueueLimit: 511, Drops: 77}
		listener.Fields = listener.Fields.With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit).With(tcp.FieldDrops)
		w.AddListener(connection(listener, nginx))
		golden(t, w.System(&counters, &states, now))
	})
}

// metadata.yaml and the code must name the same metrics: none is left out, none
// is written that nobody can switch off.
func TestEveryMetricIsWritten(t *testing.T) {
	want := make(map[string]bool)
	cfgType := reflect.TypeFor[metadata.MetricsConfig]()
	for i := range cfgType.NumField() {
		want[cfgType.Field(i).Tag.Get("mapstructure")] = true
	}
	w := newWriter(everything())
	var counters tcp.Counters
	for c := range tcp.NumCounters {
		counters.Set(c, 1)
	}
	listener := full()
	listener.State = tcp.Listen
	w.AddListener(connection(listener, nil))
	got := make(map[string]bool)
	for name := range names(w.System(&counters, &tcp.States{}, now)) {
		got[name] = true
	}
	for name := range names(collect(t, w, 1, connection(full(), nil))[0]) {
		got[name] = true
	}
	closed := fresh(1, 1)
	closed.ends = true
	for name := range names(grouped(t, w, []group.Attribute{group.Role}, closed)) {
		got[name] = true
	}
	for name := range names(w.Beneath(lower(), now)) {
		got[name] = true
	}
	for name := range names(findings(w)) {
		got[name] = true
	}
	for name := range names(ends(w, full())) {
		got[name] = true
	}
	lookups := group.NewLookups(group.LookupsConfig{Limit: 1}, began)
	lookups.Lookup(answered(0, 0, false))
	for name := range names(w.Lookups(lookups, now)) {
		got[name] = true
	}
	assert.Equal(t, want, got)
}

// lower are numbers beneath TCP, each another one.
func lower() *beneath.Numbers {
	n := &beneath.Numbers{
		Softnet: &beneath.Softnet{Drops: 1, Squeezes: 2, HasSqueezes: true}, Conntrack: &beneath.Conntrack{Usage: 3, Limit: 4},
		Interfaces: []beneath.Interface{{Name: "eth0", Errors: [2]uint64{5, 6}, Drops: [2]uint64{7, 8}}},
		NetISR:     []beneath.NetISR{{Protocol: "ip", Handled: 9, Drops: 10, Longest: 11, Watermark: 12, Limit: 13}},
		Mbufs:      []beneath.MbufZone{{Name: "mbuf", Usage: 14, Limit: 15, Denied: 16, Delayed: 17}, {Name: "mbuf_packet", Usage: 18}},
		Devices:    []beneath.Device{{Interface: "em0", PID: 19, Received: 20, Dropped: 21}},
		Routes:     &beneath.Routes{Routes: 22, Nexthops: 23},
	}
	for _, family := range []beneath.Family{beneath.IPv4, beneath.IPv6} {
		for number := range beneath.NumNumbers {
			n.Set(family, number, uint64(100*(int(family)+1)+int(number)))
		}
	}
	return n
}

func TestGoldenBeneath(t *testing.T) { golden(t, newWriter(everything()).Beneath(lower(), now)) }

// What the host does not have gets no series, and what is not enabled is not read.
func TestBeneathOfAHostWithoutIt(t *testing.T) {
	assert.Zero(t, newWriter(everything()).Beneath(&beneath.Numbers{}, now).DataPointCount())
	cfg := metadata.NewDefaultMetricsBuilderConfig()
	assert.Zero(t, beneathParts(&cfg.Metrics))
	settings := reflect.ValueOf(&cfg.Metrics).Elem()
	var all beneath.Parts
	for name, n := range names(newWriter(everything()).Beneath(lower(), now)) {
		assert.Positive(t, n)
		cfg = metadata.NewDefaultMetricsBuilderConfig()
		for i := range settings.NumField() {
			if settings.Type().Field(i).Tag.Get("mapstructure") == name {
				settings.Field(i).FieldByName("Enabled").SetBool(true)
			}
		}
		part := beneathParts(&cfg.Metrics)
		assert.Equal(t, 1, bits.OnesCount8(uint8(part)), name)
		all |= part
	}
	assert.Equal(t, beneath.Parts(beneath.AllParts), all)
}

// UDP of both versions of IP together has no version.
func TestBeneathOfBothVersions(t *testing.T) {
	n := &beneath.Numbers{}
	n.Set(beneath.BothIP, beneath.UDPReceived, 1)
	n.Set(beneath.BothIP, beneath.UDPNoPort, 2)
	md := newWriter(everything()).Beneath(n, now)
	require.Equal(t, 2, md.DataPointCount())
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		attributes := m.Sum().DataPoints().At(0).Attributes()
		_, there := attributes.Get("network.type")
		assert.False(t, there, m.Name())
		assert.Equal(t, 1, attributes.Len(), m.Name())
	}
}

// findings writes that something was found.
func findings(w *Writer) pmetric.Metrics {
	all := NewFindings(began)
	all.Count(&event.Finding{Rule: "scan.outbound"})
	all.Count(&event.Finding{Rule: "saturation.accept_queue", Ended: true})
	md := pmetric.NewMetrics()
	w.Findings(md, all, now)
	return md
}

func TestFindingsBeginWithNothing(t *testing.T) {
	dps := findings(newWriter(everything())).ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints()
	require.Equal(t, 2, dps.Len(), "the end of a state is no finding")
	assert.Equal(t, [2]int64{0, 1}, [2]int64{dps.At(0).IntValue(), dps.At(1).IntValue()})
	assert.Less(t, dps.At(0).Timestamp(), dps.At(1).Timestamp())
}

// ends writes how a connection ended, and another that was refused.
func ends(w *Writer, s tcp.Socket) pmetric.Metrics {
	all := group.NewEnds(began, []float64{0.001, 0.01})
	n := &tcp.Notice{Socket: s}
	all.Ended(&event.Ended{Connection: &event.Connection{Role: tcp.Client}, Established: true, Last: n})
	all.Ended(&event.Ended{Connection: &event.Connection{Role: tcp.Server}, Failure: tcp.Refused, Last: n})
	md := pmetric.NewMetrics()
	w.Ends(md, all, now)
	return md
}

// Each value is written once: no two series of a metric are told from the same
// field by mistake.
func TestEveryFieldIsWritten(t *testing.T) {
	md := collect(t, newWriter(everything()), 1, connection(full(), nil))[0]
	seen := make(map[string]string)
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		for _, dp := range points(m).All() {
			value := fmt.Sprint(dp.IntValue(), dp.DoubleValue())
			assert.Empty(t, seen[value], "%s has the value of %s", m.Name(), seen[value])
			seen[value] = m.Name()
		}
	}
	// All but what listeners have (the accept queue, drops) and what groups alone have
	// (RetransmitsBy); BusyTime as network, less its parts.
	assert.Len(t, seen, int(tcp.NumFields)-4)
}

func TestGoldenEnds(t *testing.T) { golden(t, ends(newWriter(everything()), full())) }

func TestWhatIsNotKnownIsNotWritten(t *testing.T) {
	w := newWriter(everything())
	bare := tcp.Socket{Local: netip.MustParseAddrPort("192.0.2.1:1"), Peer: netip.MustParseAddrPort("192.0.2.2:2"), State: tcp.TimeWait}
	assert.Equal(t, map[string]int{"tcp.connection.age": 1}, names(collect(t, w, 1, connection(bare, nil))[0]))

	var counters tcp.Counters
	counters.Set(tcp.OpensServer, 0)
	assert.Equal(t, map[string]int{"system.network.tcp.connection.opens": 1}, names(w.System(&counters, nil, now)), "0 was counted, the rest was not")
	assert.Zero(t, w.System(&tcp.Counters{}, nil, now).DataPointCount())
	// All states are counted but closed, of which no kernel lists all.
	assert.Equal(t, int(tcp.NumStates)-1, w.System(&tcp.Counters{}, &tcp.States{}, now).DataPointCount())
}

func TestTimestamps(t *testing.T) {
	md := collect(t, newWriter(everything()), 1, connection(full(), nil))[0]
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		for _, dp := range points(m).All() {
			assert.Equal(t, pcommon.NewTimestampFromTime(now), dp.Timestamp(), m.Name())
			want := pcommon.Timestamp(0)
			if m.Type() == pmetric.MetricTypeSum {
				assert.Equal(t, pmetric.AggregationTemporalityCumulative, m.Sum().AggregationTemporality())
				want = pcommon.NewTimestampFromTime(began.Add(-10 * time.Second))
			}
			assert.Equal(t, want, dp.StartTimestamp(), m.Name())
			_, hasState := dp.Attributes().Get("network.connection.state")
			assert.Equal(t, m.Name() == "tcp.connection.age", hasState, "%s: a state would make a new series at every change", m.Name())
		}
	}
}

func TestSwitchedOff(t *testing.T) {
	cfg := metadata.NewDefaultMetricsBuilderConfig()
	cfg.Metrics.TCPConnectionRtt.Enabled = false
	cfg.ResourceAttributes.ProcessOwner.Enabled = false
	md := collect(t, newWriter(cfg), 1, connection(full(), nginx))[0]
	assert.NotContains(t, names(md), "tcp.connection.rtt")
	assert.Contains(t, names(md), "tcp.connection.io")
	assert.NotContains(t, names(md), "tcp.connection.rto", "off by default")
	attrs := md.ResourceMetrics().At(0).Resource().Attributes().AsRaw()
	assert.NotContains(t, attrs, "process.owner")
	assert.Equal(t, int64(812), attrs["process.pid"])

	none := metadata.MetricsBuilderConfig{}
	w := newWriter(none)
	assert.Empty(t, collect(t, w, 1, connection(full(), nginx)))
	w.AddListener(connection(full(), nginx))
	var counters tcp.Counters
	counters.Set(tcp.OpensServer, 1)
	assert.Zero(t, w.System(&counters, &tcp.States{}, now).DataPointCount())
}

// metrics_exclude takes out what has the value, metrics_include what does not
// have it, or does not have the attribute at all: connections without a process,
// other processes' listeners, and groups.
func TestResourceFilters(t *testing.T) {
	curl := &process.Process{PID: 99, Executable: "curl"}
	for _, tt := range []struct {
		filter string
		want   []any
		groups []any
	}{
		{"metrics_exclude", []any{"curl", nil}, []any{"curl", nil}},
		{"metrics_include", []any{"nginx"}, []any{"nginx"}},
	} {
		t.Run(tt.filter, func(t *testing.T) {
			cfg := metadata.NewDefaultMetricsBuilderConfig()
			require.NoError(t, confmap.NewFromStringMap(map[string]any{
				"process.executable.name": map[string]any{tt.filter: []any{map[string]any{"regexp": "^ngi"}}},
			}).Unmarshal(&cfg.ResourceAttributes))
			w := newWriter(cfg)
			var got []any
			for _, md := range collect(t, w, 1, connection(full(), nginx), connection(full(), curl), connection(full(), nil)) {
				got = append(got, md.ResourceMetrics().At(0).Resource().Attributes().AsRaw()["process.executable.name"])
			}
			assert.ElementsMatch(t, tt.want, got, "an empty batch is not sent")

			listener := full()
			listener.State = tcp.Listen
			for _, p := range []*process.Process{nginx, curl, nil} {
				w.AddListener(connection(listener, p))
			}
			got = nil
			for _, rm := range w.System(&tcp.Counters{}, nil, now).ResourceMetrics().All() {
				got = append(got, rm.Resource().Attributes().AsRaw()["process.executable.name"])
			}
			assert.ElementsMatch(t, tt.want, got)

			got = nil
			md := grouped(t, w, []group.Attribute{group.ProcessExecutableName}, fresh(1, 10), owned(fresh(2, 10), curl), owned(fresh(3, 10), nil))
			for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
				if m.Name() == "tcp.opens" {
					for _, dp := range m.Sum().DataPoints().All() {
						if dp.IntValue() == 0 {
							continue // at which there were none yet
						}
						got = append(got, dp.Attributes().AsRaw()["process.executable.name"])
					}
				}
			}
			assert.ElementsMatch(t, tt.groups, got)

			if tt.filter == "metrics_include" {
				w := newWriter(cfg)
				assert.Zero(t, grouped(t, w, []group.Attribute{group.Role}, fresh(1, 10)).DataPointCount(), "groups that do not have the attribute")
			}
		})
	}
}

func TestBatches(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	var connections []*table.Connection
	for i := range 10 {
		c := connection(full(), []*process.Process{nil, nginx}[i%2])
		c.Peer = netip.AddrPortFrom(c.Peer.Addr(), uint16(i+1))
		connections = append(connections, c)
	}
	var resources int
	batches := collect(t, w, 4, connections...)
	require.Len(t, batches, 3)
	for i, n := range []int{4, 4, 2} {
		resources += batches[i].ResourceMetrics().Len()
		assert.Equal(t, n, names(batches[i])["tcp.connection.rtt"])
	}
	assert.Equal(t, 4, resources, "those of one process are together: only the middle batch has two")
}

// Sockets that share address and port in one process (SO_REUSEPORT) would be
// two points with the same attributes.
func TestListenersAreSummed(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	listen := func(addr string, p *process.Process, length, limit uint32, fields ...tcp.Field) {
		s := tcp.Socket{State: tcp.Listen, Local: netip.MustParseAddrPort(addr), QueueLength: length, QueueLimit: limit}
		for _, f := range fields {
			s.Fields = s.Fields.With(f)
		}
		w.AddListener(connection(s, p))
	}
	other := &process.Process{PID: 813, Executable: "nginx"}
	listen("0.0.0.0:80", nginx, 1, 100, tcp.FieldQueueLength, tcp.FieldQueueLimit)
	listen("0.0.0.0:80", other, 7, 100, tcp.FieldQueueLength, tcp.FieldQueueLimit)
	listen("[::]:80", nginx, 5, 100, tcp.FieldQueueLength) // its limit is not known
	listen("0.0.0.0:80", nginx, 2, 100, tcp.FieldQueueLength, tcp.FieldQueueLimit)
	md := w.System(&tcp.Counters{}, nil, now)
	got := make(map[string]int64)
	for _, rm := range md.ResourceMetrics().All() {
		pid, _ := rm.Resource().Attributes().Get("process.pid")
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			for _, dp := range points(m).All() {
				addr, _ := dp.Attributes().Get("network.local.address")
				got[fmt.Sprint(pid.Int(), " ", addr.Str(), " ", m.Name())] += dp.IntValue()
				assert.Equal(t, 4, dp.Attributes().Len())
			}
		}
	}
	assert.Equal(t, map[string]int64{
		"812 0.0.0.0 tcp.listener.queue.usage": 3, "812 0.0.0.0 tcp.listener.queue.limit": 200,
		"812 :: tcp.listener.queue.usage":      5,
		"813 0.0.0.0 tcp.listener.queue.usage": 7, "813 0.0.0.0 tcp.listener.queue.limit": 100,
	}, got)
	assert.Zero(t, w.System(&tcp.Counters{}, nil, now).DataPointCount(), "those that this scrape has not")
}

// numbersOf returns the points of a metric in the order written: the seconds since
// began, and the value, or that there is none.
func numbersOf(md pmetric.Metrics, name string) (all []string) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				if m.Name() != name {
					continue
				}
				for _, dp := range points(m).All() {
					value := fmt.Sprint(float64(dp.IntValue()) + dp.DoubleValue())
					if dp.Flags().NoRecordedValue() {
						value = "ended"
					}
					all = append(all, fmt.Sprintf("%.3f: %s", dp.Timestamp().AsTime().Sub(began).Seconds(), value))
				}
			}
		}
	}
	return all
}

// What a listener dropped never falls when one of those that share its port is
// closed; a new one begins at 0; and one that is closed ends its series.
func TestListenerSeries(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	listen := func(cookie, drops uint64, isNew bool) {
		s := tcp.Socket{ID: tcp.Identity{Cookie: cookie}, State: tcp.Listen, Local: netip.MustParseAddrPort("0.0.0.0:80"), Drops: drops, QueueLength: 1}
		s.Fields = s.Fields.With(tcp.FieldDrops).With(tcp.FieldQueueLength)
		c := connection(s, nginx)
		c.IsNew = isNew
		w.AddListener(c)
	}
	write := func(seconds int, complete bool) (drops, usage []string) {
		w.complete = complete
		md := w.System(&tcp.Counters{}, nil, began.Add(time.Duration(seconds)*time.Second))
		return numbersOf(md, "tcp.listener.drops"), numbersOf(md, "tcp.listener.queue.usage")
	}
	at := 0
	for _, step := range []struct {
		listen      [][2]uint64
		incomplete  bool
		drops       []string
		usage       []string
		description string
	}{
		{listen: [][2]uint64{{1, 500}, {2, 5}}, drops: []string{"10.000: 505"}, usage: []string{"10.000: 2"}},
		{listen: [][2]uint64{{1, 510}, {2, 6}}, drops: []string{"20.000: 516"}, usage: []string{"20.000: 2"}},
		{listen: [][2]uint64{{2, 8}}, drops: []string{"30.000: 518"}, usage: []string{"30.000: 1"}, description: "one has closed"},
		{incomplete: true, description: "nobody knows"},
		{listen: [][2]uint64{{2, 9}}, drops: []string{"50.000: 519"}, usage: []string{"50.000: 1"}, description: "nothing was counted twice"},
		{drops: []string{"60.000: ended"}, usage: []string{"60.000: ended"}},
		{},
	} {
		for _, l := range step.listen {
			listen(l[0], l[1], false)
		}
		at += 10
		drops, usage := write(at, !step.incomplete)
		assert.Equal(t, step.drops, drops, step.description)
		assert.Equal(t, step.usage, usage, step.description)
	}

	listen(9, 3, true)
	drops, usage := write(100, true)
	assert.Equal(t, []string{"-9.999: 0", "100.000: 3"}, drops, "after the dump that did not have it")
	assert.Equal(t, []string{"100.000: 1"}, usage)
}

// Backends drop points that end before they start.
func TestAClockThatWasSetBack(t *testing.T) {
	w := newWriter(everything())
	before := began.Add(-time.Hour) // while connections began at began, less some seconds
	md := w.Connections([]*table.Connection{connection(full(), nginx)}, before)
	sums := 0
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Type() == pmetric.MetricTypeSum {
			for _, dp := range m.Sum().DataPoints().All() {
				assert.Equal(t, dp.Timestamp(), dp.StartTimestamp(), m.Name())
				sums++
			}
		}
	}
	assert.Positive(t, sums)
}
