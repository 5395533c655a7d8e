// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
)

// score says how well findings match labels. A finding is true if a connection
// between its client and its server is labelled malicious; of a scan, any connection
// of the scanner.
type score struct {
	Findings    int            `json:"findings"`
	True        int            `json:"true"`
	Precision   float64        `json:"precision"` // 1 without findings
	Days        float64        `json:"days"`
	FalseADay   float64        `json:"false_findings_a_day"` // what is less than a day counts as one
	Scanners    recall         `json:"scanners"`
	Callers     recall         `json:"callers"`
	FalseByRule map[string]int `json:"false_by_rule"`
}

// recall is how many of those that are labelled were found, and some of the others.
type recall struct {
	Labelled int      `json:"labelled"`
	Found    int      `json:"found"`
	Recall   float64  `json:"recall"` // 1 without any
	Missed   []string `json:"missed,omitempty"`
}

// maxMissed is how many of those that were missed are shown.
const maxMissed = 10

type judge struct {
	rec      *recording
	findings []*finding
}

func newJudge(rec *recording) *judge { return &judge{rec: rec} }

func (j *judge) take(f *finding) {
	if !f.Ended {
		j.findings = append(j.findings, f)
	}
}

type pair struct{ client, server netip.Addr }

// score compares findings and labels. Scanners are those whose malicious attempts came
// to nothing at as many hosts or ports as the defaults take, at any time; callers are
// the pairs of a local client and a peer with as many malicious connections as a beacon
// takes.
func (j *judge) score() score {
	defaults := detect.Default()
	var (
		pairs   = make(map[pair]int)
		clients = make(map[netip.Addr]bool)
		hosts   = make(map[netip.AddrPort]map[netip.Addr]bool) // by client and server's port
		ports   = make(map[pair]map[uint16]bool)
		first   time.Time
		last    time.Time
	)
	for i := range j.rec.conns {
		c := &j.rec.conns[i]
		if first.IsZero() || c.start.Before(first) {
			first = c.start
		}
		if c.start.After(last) {
			last = c.start
		}
		if !c.malicious || !c.local {
			continue
		}
		who := pair{c.orig.Addr(), c.resp.Addr()}
		clients[who.client] = true
		if c.origLocal {
			pairs[who]++
		} else if _, ok := pairs[who]; !ok {
			pairs[who] = 0
		}
		if !c.established {
			byPort := netip.AddrPortFrom(who.client, c.resp.Port())
			add(hosts, byPort, who.server)
			add(ports, who, c.resp.Port())
		}
	}
	s := score{Findings: len(j.findings), Precision: 1, FalseByRule: make(map[string]int), Days: last.Sub(first).Hours() / 24}
	foundScans, foundPairs := make(map[netip.Addr]bool), make(map[pair]bool)
	for _, f := range j.findings {
		isScan := strings.HasPrefix(f.Rule, "scan.")
		_, isPair := pairs[pair{f.client, f.server}]
		if isScan && clients[f.client] || !isScan && isPair {
			s.True++
		} else {
			s.FalseByRule[f.Rule]++
		}
		if isScan {
			foundScans[f.client] = true
		} else {
			foundPairs[pair{f.client, f.server}] = true
		}
	}
	if s.Findings > 0 {
		s.Precision = float64(s.True) / float64(s.Findings)
	}
	s.FalseADay = float64(s.Findings-s.True) / max(1, s.Days)
	scanners := make(map[netip.Addr]bool)
	for by, all := range hosts {
		if len(all) >= defaults.Scan.Hosts {
			scanners[by.Addr()] = true
		}
	}
	for who, all := range ports {
		if len(all) >= defaults.Scan.Ports {
			scanners[who.client] = true
		}
	}
	for scanner := range scanners {
		s.Scanners.add(foundScans[scanner], scanner.String())
	}
	for who, n := range pairs {
		if n >= defaults.Beacon.Connections {
			s.Callers.add(foundPairs[who] || foundScans[who.client], who.client.String()+" to "+who.server.String())
		}
	}
	s.Scanners.close()
	s.Callers.close()
	return s
}

func (r *recall) add(found bool, who string) {
	r.Labelled++
	if found {
		r.Found++
	} else {
		r.Missed = append(r.Missed, who)
	}
}

func (r *recall) close() {
	r.Recall = 1
	if r.Labelled > 0 {
		r.Recall = float64(r.Found) / float64(r.Labelled)
	}
	slices.Sort(r.Missed)
	r.Missed = r.Missed[:min(len(r.Missed), maxMissed)]
}

func add[K, V comparable](sets map[K]map[V]bool, key K, value V) {
	if sets[key] == nil {
		sets[key] = make(map[V]bool)
	}
	sets[key][value] = true
}
