// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// space looks at the counters of one network namespace, and at its connection
// tracking.
func (s *saturations) space(sp *Space, at time.Time) {
	st, isNew := s.spaces.get(s.report.hash.pair(pairKey{who: sp.Namespace}))
	if isNew {
		*st = spaceState{}
	}
	subject := "this host"
	if sp.Namespace != 0 {
		subject = fmt.Sprintf("network namespace %d", sp.Namespace)
		if sp.Name != "" {
			subject = "network namespace " + sp.Name
		}
	}
	sent := st.grown(0, sp, tcp.SYNCookiesSent)
	if began, over := st.cookies.update(sent > 0, untilCalm(st.cookies.on), at); began || over {
		s.state(&event.Finding{
			Rule: "saturation.syn_cookies", Subject: subject, Namespace: sp.Namespace, At: at,
			Body:     fmt.Sprintf("%s answered %d SYNs with cookies since the last scrape: a listener's queue of SYNs is full, by load or by a flood", subject, sent),
			Evidence: []event.Evidence{against("syn_cookies", float64(sent), 0)},
		}, began, subject+" sends no more SYN cookies")
	}
	pressures := st.grown(1, sp, tcp.MemoryPressures)
	if began, over := st.pressure.update(pressures > 0, untilCalm(st.pressure.on), at); began || over {
		s.state(&event.Finding{
			Rule: "saturation.memory", Subject: subject, Namespace: sp.Namespace, At: at,
			Body:     fmt.Sprintf("TCP of %s reached its limit of memory: buffers shrink, and throughput with them", subject),
			Evidence: []event.Evidence{against("memory_pressures", float64(pressures), 0)},
		}, began, "TCP of "+subject+" has memory again")
	}
	if sp.TrackedLimit == 0 {
		return
	}
	usage := float64(sp.Tracked) / float64(sp.TrackedLimit)
	if began, over := st.tracked.update(usage > s.cfg.Usage, untilCalm(st.tracked.on), at); began || over {
		severity := event.Warning
		if sp.Tracked >= sp.TrackedLimit {
			severity = event.Error
		}
		s.state(&event.Finding{
			Rule: "saturation.conntrack", Severity: severity, Subject: subject, Namespace: sp.Namespace, At: at,
			Body:     fmt.Sprintf("the kernel tracks %d connections of %s, of %d: beyond that it drops packets", sp.Tracked, subject, sp.TrackedLimit),
			Evidence: []event.Evidence{against("usage", round(usage), s.cfg.Usage), number("tracked", float64(sp.Tracked)), number("limit", float64(sp.TrackedLimit))},
		}, began, "the kernel has room again to track connections of "+subject)
	}
}

// untilCalm is how many scrapes a state needs to change: it begins at once, and is
// over after some calm.
func untilCalm(on bool) int {
	if on {
		return calm
	}
	return 1
}

// grown is how much a counter has grown since the last scrape; 0 at the first.
func (st *spaceState) grown(at int, sp *Space, counter tcp.Counter) uint64 {
	v, ok := sp.Counters.Get(counter)
	before, known := st.last[at], st.known[at]
	st.last[at], st.known[at] = v, ok
	if !ok || !known || v < before {
		return 0
	}
	return v - before
}

// queried looks at whether a resolver answers.
func (s *saturations) queried(q *query) {
	if !q.Resolver.IsValid() {
		return
	}
	r, isNew := s.resolvers.get(s.report.hash.pair(pairKey{who: q.Namespace, addr: q.Resolver.Addr(), port: q.Resolver.Port()}))
	if isNew {
		*r = resolver{began: q.At}
	} else if q.At.Sub(r.began) > resolverWindow {
		*r = resolver{began: q.At, on: r.on, process: r.process}
	}
	r.asked++
	if !q.Answered {
		r.lost++
		if q.Process != nil {
			r.process = q.Process
		}
	}
	if r.asked < minQueries {
		return
	}
	share := float64(r.lost) / float64(r.asked)
	lost := share >= s.cfg.LostAnswers
	if lost == r.on {
		return
	}
	r.on = lost
	s.state(&event.Finding{
		Rule: "saturation.resolver", Severity: event.Error, Process: r.process, Subject: endpoint(q.Resolver), Namespace: q.Namespace, At: q.At, First: r.began,
		Body:   fmt.Sprintf("the resolver %s left %d of %d queries unanswered since %s", endpoint(q.Resolver), r.lost, r.asked, clock(r.began)),
		Client: netip.AddrPortFrom(q.Local, 0), Server: q.Resolver,
		Evidence: []event.Evidence{against("lost_share", round(share), s.cfg.LostAnswers), number("queries", float64(r.asked)), number("lost", float64(r.lost))},
		Peers:    []string{endpoint(q.Resolver)},
	}, lost, fmt.Sprintf("the resolver %s answers again", endpoint(q.Resolver)))
}
