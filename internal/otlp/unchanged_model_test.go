// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// A backend that keeps the last value of each series has the same ones after every
// scrape, be they written in each or only when something has happened: whatever
// connections do, whoever has them, and whichever part of the dumps fails. Only ages and
// idle times, which grow by themselves, are older.
//
// Where the pipeline refuses batches of the one and of the other, they are the same
// after a complete scrape that it takes.
func TestUnchangedModel(t *testing.T) {
	for seed := range uint64(2) {
		for name, limit := range map[string]int{"all": 0, "limit": 8} {
			for _, moved := range []bool{false, true} {
				for _, refuses := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d/%s/moved=%t/refuses=%t", seed, name, moved, refuses), func(t *testing.T) {
						newTraffic(t, seed, limit, moved).run(120, refuses, seed%2 == 1 && !refuses)
					})
				}
			}
		}
	}
}

// traffic is a random life of connections.
type traffic struct {
	*stillRig
	*rand.Rand
	cookie uint64
	all    []*tcp.Socket // those of the kernel, of which a dump may show a part
	loses  bool          // values that were there may be missing later
	owners []*process.Process
}

func newTraffic(t *testing.T, seed uint64, limit int, moved bool) *traffic {
	k := &kernel{}
	var r *stillRig
	change := func(cfg *MetricsConfig) {
		cfg.Metrics.TCPConnectionTime.Enabled, cfg.Metrics.TCPConnectionIdle.Enabled = true, true
		cfg.Metrics.TCPConnectionPacingRate.Enabled, cfg.Metrics.TCPConnectionSlowStartThreshold.Enabled = true, true
	}
	config := func(unchanged int64) ConnectionsConfig {
		return every(unchanged, func(c *ConnectionsConfig) {
			c.Limit, c.States = limit, []tcp.State{tcp.TimeWait}
			c.PeerAttributes = []group.Attribute{group.ServiceName}
		})
	}
	if moved {
		k.moved = make(map[uint64]bool)
		r = newStillRig(t, k, movingKernel{k}, change, config(0), config(5))
	} else {
		r = newStillRig(t, k, k, change, config(0), config(5))
	}
	return &traffic{stillRig: r, Rand: rand.New(rand.NewPCG(seed, uint64(limit)))}
}

// run compares the two for some ticks. The pipelines may refuse batches, or two of the
// processes have the same attributes.
func (r *traffic) run(ticks int64, refuses, twins bool) {
	r.owners = []*process.Process{nil, nginx, {PID: 7}}
	if twins {
		// The end of a series of the one is that of the other, until the next scrape.
		r.owners = append(r.owners, &process.Process{PID: 7})
	}
	// A value that was refused and is missing later is never sent again.
	r.loses = !refuses
	sent, most := [2]int{}, 0
	for tick := int64(0); tick < ticks; tick++ {
		r.step()
		calm := tick%5 == 4
		if r.IntN(10) == 0 && !(refuses && calm) {
			r.result = errors.New("broke off")
		}
		incomplete := r.result != nil
		r.all = r.sockets
		if incomplete {
			r.sockets = r.sockets[:r.IntN(len(r.sockets)+1)]
		}
		for _, b := range r.backends {
			b.refuse = nil
			if refuses && !calm {
				b.refuse = r.refusal()
			}
		}
		if r.IntN(20) == 0 {
			tick += int64(r.IntN(8)) // ticks are missed
		}
		r.scrape(tick)
		r.sockets = r.all
		for i, b := range r.backends {
			sent[i] += b.points
			most = max(most, len(b.series))
			require.True(r, refuses || twins || len(b.unknown) == 0, "%v ended, and was not there", b.unknown)
		}
		if !refuses || calm && tick%5 == 4 {
			require.Empty(r, differences(r.backends[0].series, r.backends[1].series), "tick %d", tick)
		}
	}
	require.Greater(r, most, 80)
	assert.Less(r, sent[1], sent[0]*3/4, "most rest")
}

// differences are some of the series that one has and the other has not, or with another
// value.
func differences(want, got map[string]value) (all []string) {
	for key, value := range want {
		if got[key] != value && len(all) < 3 {
			all = append(all, fmt.Sprintf("%s: want %v, got %v", key, value, got[key]))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok && len(all) < 3 {
			all = append(all, key+" has ended")
		}
	}
	return all
}

// refusal refuses some batches for now, or for good where that is no end of a series:
// such an end is not sent again.
func (r *traffic) refusal() func(pmetric.Metrics) error {
	return func(md pmetric.Metrics) error {
		if r.IntN(3) > 0 {
			return nil
		}
		values := false
		eachPoint(md, func(_ pcommon.Map, _ pmetric.Metric, dp pmetric.NumberDataPoint) {
			values = values || !dp.Flags().NoRecordedValue()
		})
		if values && r.IntN(2) == 0 {
			return consumererror.NewPermanent(errors.New("no"))
		}
		return errors.New("not now")
	}
}

// step lets a second pass in which few connections do anything.
func (r *traffic) step() {
	for _, s := range r.sockets {
		for _, passes := range []*time.Duration{&s.Age, &s.SinceDataSent, &s.SinceDataReceived, &s.SinceACKReceived} {
			*passes += time.Second
		}
	}
	for len(r.sockets) < 25 || r.IntN(4) == 0 {
		r.begins()
	}
	if r.IntN(3) == 0 {
		r.ends(r.IntN(len(r.sockets)))
	}
	for range r.IntN(6) {
		r.happens(r.sockets[r.IntN(len(r.sockets))], r.anything)
	}
	owner, peer := r.IntN(4) == 0, r.IntN(6) == 0
	r.meddler.meddle = func(s *engine.Scrape) {
		if owner {
			r.meddled(s, func(c *table.Connection) { c.Owner.Process = r.owners[r.IntN(len(r.owners))] })
		}
		if peer {
			r.meddled(s, func(c *table.Connection) { c.PeerInfo = &event.Peer{Service: []string{"web", "db"}[r.IntN(2)]} })
		}
	}
}

func (r *traffic) meddled(s *engine.Scrape, do func(*table.Connection)) {
	if c := s.Find(r.all[r.IntN(len(r.all))].ID); c != nil {
		do(c)
	}
}

// begins adds a connection, maybe with the endpoints of one that has ended.
func (r *traffic) begins() {
	r.cookie++
	s := still(r.cookie)
	port := uint16(1 + r.IntN(200))
	for _, other := range r.sockets {
		if other.Peer.Port() == port {
			return
		}
	}
	s.Peer = netip.AddrPortFrom(s.Peer.Addr(), port)
	if r.IntN(4) == 0 {
		s.State = tcp.SynSent
	}
	r.sockets = append(r.sockets, s)
	if r.moved != nil {
		r.moved[s.ID.Cookie] = true
	}
}

// anything is what may happen to a connection.
func (r *traffic) anything(s *tcp.Socket) {
	switch r.IntN(5) {
	case 0:
		s.State = map[tcp.State]tcp.State{
			tcp.SynSent: tcp.Established, tcp.Established: tcp.CloseWait, tcp.CloseWait: tcp.LastAck, tcp.LastAck: tcp.LastAck, tcp.TimeWait: tcp.TimeWait,
		}[s.State]
		if s.State == tcp.CloseWait && r.IntN(2) == 0 {
			s.State, s.Fields = tcp.TimeWait, 0
		}
	case 1:
		if r.loses && s.Fields != 0 {
			s.Fields ^= 1 << []tcp.Field{tcp.FieldSlowStartThreshold, tcp.FieldPacingRate}[r.IntN(2)]
		}
	case 2:
		s.CongestionControl = []string{"cubic", "bbr"}[r.IntN(2)]
	default:
		numbers := reflect.ValueOf(s).Elem()
		for {
			switch f := numbers.Field(r.IntN(numbers.NumField())); f.Kind() {
			case reflect.Int64:
				f.SetInt(f.Int() + 1000)
				return
			case reflect.Uint64, reflect.Uint32:
				if f.Type() == reflect.TypeFor[tcp.Fields]() || f.Addr().Interface() == any(&s.Inode) {
					continue
				}
				f.SetUint(f.Uint() + 1000)
				return
			}
		}
	}
}
