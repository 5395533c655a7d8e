// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var router = netip.MustParseAddr("192.0.2.1")

// uplink is a host with one gateway, whose own link has the addresses 192.0.2.0/24.
type uplink struct {
	*rig
	t  *testing.T
	at time.Time
}

func newUplink(t *testing.T) *uplink { return &uplink{newRig(t, nil, Saturation), t, epoch} }

// traffic is what connections do in a scrape.
type traffic struct {
	connections, networks int
	segments, retransmits uint32 // of each
	rtt                   time.Duration
	direct                bool // to the own link
}

func (u *uplink) next(all ...traffic) {
	u.Reach(u.at)
	for _, tr := range all {
		for n := range tr.connections {
			peer := netip.AddrFrom4([4]byte{203, 0, byte(n % tr.networks), byte(n)})
			if tr.direct {
				peer = netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + n)})
			}
			growth := event.Growth{event.SegmentsSent: tr.segments}
			u.Progress(&event.Progress{
				Connection: &event.Connection{
					Local: netip.AddrPortFrom(here, uint16(40000+n)), Peer: netip.AddrPortFrom(peer, 443), Role: tcp.Client, State: tcp.Established,
					Traits: &event.Traits{}, SmoothedRTT: tr.rtt, Fields: tcp.Fields(0).With(tcp.FieldSmoothedRTT), Slot: uint32(n),
				},
				Delta:  event.Delta{BytesSent: uint64(tr.segments) * 1000, Retransmits: uint64(tr.retransmits)},
				Growth: &growth, Was: tcp.Established, Is: tcp.Established,
			})
		}
	}
	link := netip.MustParsePrefix("192.0.2.0/24")
	u.scrape(u.at, Space{Gateway: func(a netip.Addr) (netip.Addr, bool) {
		if link.Contains(a) {
			return netip.Addr{}, true
		}
		return router, true
	}})
	u.at = u.at.Add(10 * time.Second)
}

const usual = 30 * time.Millisecond

// A gateway through which connections to many networks lose segments is found once,
// and ends once.
func TestGatewayLosesSegments(t *testing.T) {
	for name, tt := range map[string]struct {
		lost     traffic
		besides  []traffic
		severity event.Severity
		says     string
	}{
		"some of all": {traffic{connections: 10, networks: 5, segments: 100, retransmits: 8, rtt: usual}, nil, event.Error, "10 of 10 connections through the gateway 192.0.2.1, to 5 networks, lose segments since 09:16:40 UTC"},
		"everything":  {traffic{connections: 10, networks: 5, segments: 3, retransmits: 3, rtt: usual}, nil, event.Error, "10 of 10"},
		"beside a link that is well": {
			traffic{connections: 10, networks: 5, segments: 100, retransmits: 8, rtt: usual},
			[]traffic{{connections: 8, networks: 1, segments: 100, rtt: time.Millisecond, direct: true}},
			event.Error, "those to peers on this host's own links do not",
		},
		"beside a link that is not": {
			traffic{connections: 10, networks: 5, segments: 100, retransmits: 8, rtt: usual},
			[]traffic{{connections: 8, networks: 1, segments: 100, retransmits: 9, rtt: time.Millisecond, direct: true}},
			event.Error, "look at these first",
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUplink(t)
			for range 40 {
				u.next(traffic{connections: 10, networks: 5, segments: 100, retransmits: 1, rtt: usual})
			}
			for range 2 {
				u.next(append(tt.besides, tt.lost)...)
			}
			require.Empty(t, u.found, "two scrapes are none")
			for range 5 {
				u.next(append(tt.besides, tt.lost)...)
			}
			require.Equal(t, []string{"saturation.gateway"}, u.rules())
			f := u.found[0]
			assert.Equal(t, "gateway 192.0.2.1", f.Subject)
			assert.Equal(t, tt.severity, f.Severity)
			assert.Contains(t, f.Body, tt.says)
			assert.Equal(t, 1.0, evidence(t, f, "lossy_share").Value)
			assert.Len(t, f.Peers, 5)
			for range 5 {
				u.next(traffic{connections: 10, networks: 5, segments: 100, rtt: usual})
			}
			require.Equal(t, []string{"saturation.gateway", "-saturation.gateway"}, u.rules())
			assert.Equal(t, f.ID, u.found[1].ID)
		})
	}
}

// What gets slow behind a gateway, all at once, is the gateway.
func TestGatewaySlows(t *testing.T) {
	u := newUplink(t)
	for range 40 {
		u.next(traffic{connections: 8, networks: 4, segments: 10, rtt: usual})
	}
	for range 5 {
		u.next(traffic{connections: 8, networks: 4, segments: 10, rtt: 4 * usual})
	}
	require.Equal(t, []string{"saturation.gateway"}, u.rules())
	assert.Equal(t, event.Warning, u.found[0].Severity)
	assert.Contains(t, u.found[0].Body, "the round trips to 4 of 4 networks behind the gateway 192.0.2.1 take 3 times as long")
	assert.Equal(t, 1.0, evidence(t, u.found[0], "slow_share").Value)
	for range 3 {
		u.next(traffic{connections: 8, networks: 4, segments: 10, rtt: usual})
	}
	require.Equal(t, []string{"saturation.gateway", "-saturation.gateway"}, u.rules())
}

// Losses that are not the gateway's.
func TestGatewayIsWell(t *testing.T) {
	for name, all := range map[string][]traffic{
		"one network of many": {
			{connections: 4, networks: 1, segments: 100, retransmits: 50, rtt: usual},
			{connections: 16, networks: 8, segments: 100, rtt: usual},
		},
		"few connections":    {{connections: 4, networks: 4, segments: 100, retransmits: 50, rtt: usual}},
		"two networks":       {{connections: 20, networks: 2, segments: 100, retransmits: 50, rtt: usual}},
		"a little of all":    {{connections: 20, networks: 10, segments: 100, retransmits: 4, rtt: usual}},
		"the own link alone": {{connections: 20, networks: 1, segments: 100, retransmits: 50, rtt: usual, direct: true}},
	} {
		u := newUplink(t)
		for range 10 {
			u.next(all...)
		}
		assert.Empty(t, u.found, name)
	}
}

// A state that a detector has forgotten, and finds again, is reported again after a
// while: nobody will report its end otherwise.
func TestRaisedAgain(t *testing.T) {
	r := newRig(t, nil, Saturation)
	for _, after := range []time.Duration{0, time.Minute, 2 * time.Hour} {
		r.report.raise(&event.Finding{Rule: "saturation.gateway", Subject: "gateway", At: epoch.Add(after)})
	}
	assert.Equal(t, []string{"saturation.gateway", "saturation.gateway"}, r.rules())
}
