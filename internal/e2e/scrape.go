// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Tuple is the addresses and ports of one connection.
type Tuple struct{ Local, Peer netip.AddrPort }

func (t Tuple) String() string { return t.Local.String() + " " + t.Peer.String() }

// Value is one data point.
type Value struct {
	Start, Time time.Time // Start is zero where there is none
	Number      float64
	Cumulative  bool   // it only grows
	Unit        string // as in the metric
	Attributes  map[string]any
}

// Connection is all points of one connection in one scrape.
type Connection struct {
	Tuple
	Type     string // network.type
	State    string
	Resource map[string]any
	// Values are by the metric's name and, after a space, the one attribute that
	// not all metrics of connections have: "tcp.connection.io transmit".
	Values map[string]Value
}

// pid is the owner's, 0 if there is none.
func (c *Connection) pid() int { return pid(c.Resource) }

func pid(resource map[string]any) int {
	n, _ := resource["process.pid"].(int64)
	return int(n)
}

// Listener is the points of one listener in one scrape.
type Listener struct {
	Local    netip.AddrPort
	Type     string
	Resource map[string]any
	Values   map[string]Value
}

// Scrape is what one scrape of the receiver sent.
type Scrape struct {
	Connections map[Tuple]*Connection
	Listeners   map[string]*Listener // by local address, port and pid
	States      map[string]int64     // system.network.connection.count
	System      map[string]Value     // the other metrics of the host, named as in Connection.Values
	Groups      map[string]Value     // metrics of groups of connections, as a Page has its samples
	Beneath     map[string]Value     // what lies beneath TCP
	Batches     []int                // connections in each batch
	Time        time.Time            // of the host's points, which come last

	Problems []string // what is never right, whatever the sockets are
}

// kind is what a metric is of.
type kind int

const (
	ofHost kind = iota
	ofState
	ofListener
	ofConnection
	ofGroup
	ofBeneath // what lies beneath TCP, in a batch of its own
)

func kindOf(metric string) kind {
	switch {
	case metric == "system.network.connection.count":
		return ofState
	case strings.HasPrefix(metric, "system.network.tcp."):
		return ofHost
	case strings.HasPrefix(metric, "system."):
		return ofBeneath
	case strings.HasPrefix(metric, "tcp.listener."):
		return ofListener
	case metric == "tcp.opens", metric == "tcp.closes":
		return ofGroup
	case strings.HasPrefix(metric, "tcp.connection."):
		return ofConnection
	}
	return ofGroup
}

func newScrape() *Scrape {
	return &Scrape{
		Connections: make(map[Tuple]*Connection),
		Listeners:   make(map[string]*Listener),
		States:      make(map[string]int64),
		System:      make(map[string]Value),
		Beneath:     make(map[string]Value),
		Groups:      make(map[string]Value),
	}
}

func (s *Scrape) problem(format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

// add takes a batch in and tells whether it is the scrape's last.
func (s *Scrape) add(md pmetric.Metrics) (last bool) {
	inBatch := make(map[Tuple]bool)
	for _, rm := range md.ResourceMetrics().All() {
		resource := rm.Resource().Attributes().AsRaw()
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				kind := kindOf(m.Name())
				if m.Type() == pmetric.MetricTypeHistogram && (kind == ofGroup || kind == ofHost) {
					for _, dp := range m.Histogram().DataPoints().All() {
						if !dp.Flags().NoRecordedValue() {
							s.addGroup(m.Name(), dp.Attributes(), Value{Number: float64(dp.Count()), Time: dp.Timestamp().AsTime()})
						}
					}
					continue
				}
				for _, dp := range s.points(m).All() {
					if dp.Flags().NoRecordedValue() {
						continue // the series has ended
					}
					switch value := s.value(m, dp); kind {
					case ofConnection:
						inBatch[s.addConnection(m.Name(), resource, dp, value)] = true
					case ofGroup:
						s.addGroup(m.Name(), dp.Attributes(), value)
					case ofListener:
						s.addListener(m.Name(), resource, dp, value)
					case ofState:
						s.States[text(dp, "network.connection.state")] = int64(value.Number)
						last = true
					case ofBeneath:
						s.put(s.Beneath, m.Name(), m.Name()+" "+text(dp, "network.type")+extra(dp), value)
					case ofHost:
						s.put(s.System, m.Name(), m.Name()+extra(dp), value)
						last = true
					}
				}
			}
		}
	}
	if len(inBatch) > 0 {
		s.Batches = append(s.Batches, len(inBatch))
	}
	if last {
		for _, v := range s.System {
			s.Time = v.Time
		}
		s.check()
	}
	return last
}

// cutOff tells whether a batch is one of another scrape.
func (s *Scrape) cutOff(md pmetric.Metrics) bool {
	next := newScrape()
	next.add(md)
	for _, c := range s.Connections {
		for _, other := range next.Connections {
			return !c.Values["tcp.connection.age"].Time.Equal(other.Values["tcp.connection.age"].Time)
		}
	}
	return false
}

// points returns the points of a metric, and sees to it that it is of a kind that
// this receiver has.
func (s *Scrape) points(m pmetric.Metric) pmetric.NumberDataPointSlice {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return m.Gauge().DataPoints()
	case pmetric.MetricTypeSum:
		if m.Sum().AggregationTemporality() != pmetric.AggregationTemporalityCumulative {
			s.problem("%s is not cumulative", m.Name())
		}
		return m.Sum().DataPoints()
	}
	s.problem("%s is a %s", m.Name(), m.Type())
	return pmetric.NewNumberDataPointSlice()
}

func (s *Scrape) value(m pmetric.Metric, dp pmetric.NumberDataPoint) Value {
	v := Value{Time: dp.Timestamp().AsTime(), Unit: m.Unit(), Number: dp.DoubleValue(), Attributes: dp.Attributes().AsRaw()}
	if dp.ValueType() == pmetric.NumberDataPointValueTypeInt {
		v.Number = float64(dp.IntValue())
	}
	if dp.StartTimestamp() != 0 {
		v.Start = dp.StartTimestamp().AsTime()
	}
	v.Cumulative = m.Type() == pmetric.MetricTypeSum && m.Sum().IsMonotonic()
	if v.Cumulative && (v.Start.IsZero() || v.Start.After(v.Time)) {
		s.problem("%s has a point of %s that starts at %s", m.Name(), v.Time, v.Start)
	}
	if v.Number < 0 {
		s.problem("%s is %v", m.Name(), v.Number)
	}
	return v
}

func (s *Scrape) addConnection(name string, resource map[string]any, dp pmetric.NumberDataPoint, value Value) Tuple {
	tuple := Tuple{
		Local: s.endpoint(dp, "network.local"),
		Peer:  s.endpoint(dp, "network.peer"),
	}
	c, ok := s.Connections[tuple]
	if !ok {
		c = &Connection{Tuple: tuple, Type: text(dp, "network.type"), Resource: resource, Values: make(map[string]Value)}
		s.Connections[tuple] = c
	}
	if c.pid() != pid(resource) || c.Type != text(dp, "network.type") {
		s.problem("%s is under two processes or of two types", tuple)
	}
	if state := text(dp, "network.connection.state"); state != "" {
		c.State = state
		s.put(c.Values, tuple.String(), name, value)
	} else {
		s.put(c.Values, tuple.String(), name+extra(dp), value)
	}
	return tuple
}

func (s *Scrape) addListener(name string, resource map[string]any, dp pmetric.NumberDataPoint, value Value) {
	local := s.endpoint(dp, "network.local")
	key := listenerKey(local, pid(resource))
	l, ok := s.Listeners[key]
	if !ok {
		l = &Listener{Local: local, Type: text(dp, "network.type"), Resource: resource, Values: make(map[string]Value)}
		s.Listeners[key] = l
	}
	s.put(l.Values, key, name, value)
}

func (s *Scrape) addGroup(name string, attributes pcommon.Map, value Value) {
	labels := make(map[string]string)
	for key, v := range attributes.All() {
		labels[key] = v.AsString()
	}
	key := sample(name, labels)
	s.put(s.Groups, "a group", key, value)
}

func listenerKey(local netip.AddrPort, pid int) string { return fmt.Sprintf("%s of %d", local, pid) }

// put notes a value. The same series twice in one scrape is what a backend takes
// for a mistake, unless the first is the 0 with which a series begins, at a time of
// its own.
func (s *Scrape) put(values map[string]Value, of, key string, value Value) {
	if before, twice := values[key]; twice && (before.Number != 0 || !before.Time.Before(value.Time)) {
		s.problem("%s of %s comes twice", key, of)
	}
	values[key] = value
}

func (s *Scrape) endpoint(dp pmetric.NumberDataPoint, prefix string) netip.AddrPort {
	addr, err := netip.ParseAddr(text(dp, prefix+".address"))
	if err != nil {
		s.problem("%s.address: %v", prefix, err)
	}
	if text(dp, "network.transport") != "tcp" || (text(dp, "network.type") == "ipv4") != addr.Is4() {
		s.problem("%s is of %s, %s", addr, text(dp, "network.transport"), text(dp, "network.type"))
	}
	port, _ := dp.Attributes().Get(prefix + ".port")
	return netip.AddrPortFrom(addr, uint16(port.Int()))
}

// check looks at what must be right of every scrape.
func (s *Scrape) check() {
	count := make(map[string]int64)
	for tuple, c := range s.Connections {
		count[c.State]++
		if c.State == "" {
			s.problem("%s has no state", tuple)
		}
		for name, v := range c.Values {
			if age := c.Values["tcp.connection.age"]; !v.Time.Equal(age.Time) {
				s.problem("%s: %s is of %s, others are of %s", tuple, name, v.Time, age.Time)
			}
		}
	}
	// Of one dump on Linux alone.
	if len(s.Connections) > 0 && runtime.GOOS == "linux" {
		for state, n := range count {
			if s.States[state] < n {
				s.problem("%d connections are in %s, %d are counted", n, state, s.States[state])
			}
		}
	}
	if _, ok := s.States["closed"]; ok && runtime.GOOS == "linux" {
		s.problem("closed sockets, which Linux does not list, are counted")
	}
}

// extra is the value of the one attribute that is not one of all connections' and
// not the state, with a space before it.
func extra(dp pmetric.NumberDataPoint) string {
	var values []string
	for key, value := range dp.Attributes().All() {
		switch key {
		case "network.transport", "network.type", "network.local.address", "network.local.port", "network.peer.address", "network.peer.port":
		default:
			values = append(values, " "+value.AsString())
		}
	}
	return strings.Join(values, "")
}

func text(dp pmetric.NumberDataPoint, key string) string {
	v, ok := dp.Attributes().Get(key)
	if !ok || v.Type() != pcommon.ValueTypeStr {
		return ""
	}
	return v.Str()
}

// numbers leaves of values the numbers.
func numbers(values map[string]Value) map[string]float64 {
	all := make(map[string]float64)
	for key, v := range values {
		all[key] = v.Number
	}
	return all
}
