// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// Severity is how urgent a finding is.
type Severity uint8

// The severities.
const (
	Warning Severity = iota // someone should look at it
	Error                   // service is refused
)

// String returns the severity as OpenTelemetry's short name of it.
func (s Severity) String() string {
	if s == Error {
		return "ERROR"
	}
	return "WARN"
}

// The categories of findings: values of security_rule.category.
const (
	Reconnaissance    = "reconnaissance"
	CommandAndControl = "command_and_control"
	Exfiltration      = "exfiltration"
	Persistence       = "persistence"
	Availability      = "availability"
)

// Evidence is one number that a finding rests on.
type Evidence struct {
	Name  string // the last part of its attribute: tcp.finding.<name>
	Value float64
	// Threshold is what the value was compared with, if HasThreshold.
	Threshold    float64
	HasThreshold bool
}

// Finding is something that someone should look at. Whoever is given one may keep
// it.
type Finding struct {
	// ID is the same for the same rule and subject, in every run.
	ID       string
	Rule     string // security_rule.name, such as scan.outbound
	Category string
	Severity Severity
	// Subject is who or what the finding is about.
	Subject string
	// Body is one sentence for people.
	Body string
	// Process is the process behind it; nil if it is not known.
	Process *process.Process
	// Client and Server are the ends of a typical connection. They are invalid, or
	// have port 0, where the finding is not about one.
	Client, Server netip.AddrPort
	// ServerName is the name that this host asked for to get the server's address; "" if
	// that is not known.
	ServerName string
	Evidence   []Evidence
	// Peers are up to [MaxExamples] examples: endpoints or names.
	Peers []string
	// At is when the finding was made. First and Last are when what it rests on was
	// first and last seen. All are times of events, so that a recording gives the
	// same findings as the live run.
	At, First, Last time.Time
	// Namespace is the network namespace it is about, as in tcp.Identity; 0 if it
	// is about none in particular.
	Namespace uint64
	// Ended reports that a state that was found before is over.
	Ended bool
}

// MaxExamples is the most examples that a finding has.
const MaxExamples = 5
