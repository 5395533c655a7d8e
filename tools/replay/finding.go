// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
)

// finding is a line of output.
type finding struct {
	Time     time.Time          `json:"time"`
	Rule     string             `json:"rule"`
	Category string             `json:"category"`
	Severity string             `json:"severity"`
	Subject  string             `json:"subject"`
	Body     string             `json:"body"`
	Client   string             `json:"client,omitempty"`
	Server   string             `json:"server,omitempty"`
	Peers    []string           `json:"peers"`
	Evidence map[string]float64 `json:"evidence"`
	First    time.Time          `json:"first"`
	Last     time.Time          `json:"last"`
	ID       string             `json:"id"`
	Ended    bool               `json:"ended,omitempty"`

	client, server netip.Addr
}

func newFinding(f *event.Finding) *finding {
	line := &finding{
		Time: f.At.UTC(), Rule: f.Rule, Category: f.Category, Severity: f.Severity.String(), Subject: f.Subject, Body: f.Body,
		Client: endpoint(f.Client), Server: endpoint(f.Server),
		Peers: f.Peers, Evidence: make(map[string]float64), First: f.First.UTC(), Last: f.Last.UTC(), ID: f.ID, Ended: f.Ended,
		client: f.Client.Addr(), server: f.Server.Addr(),
	}
	if line.Peers == nil {
		line.Peers = []string{}
	}
	for _, e := range f.Evidence {
		line.Evidence[e.Name] = e.Value
		if e.HasThreshold {
			line.Evidence[e.Name+".threshold"] = e.Threshold
		}
	}
	return line
}

func endpoint(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}
