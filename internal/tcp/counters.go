// SPDX-License-Identifier: Apache-2.0

package tcp

// Counter names one system-wide number.
type Counter uint8

// The system-wide numbers, as in the metrics system.network.tcp.*. All but
// those from Orphans on only grow.
const (
	OpensClient Counter = iota
	OpensServer
	AttemptsFailed
	ConnectionResets
	SegmentsReceived
	SegmentsSent
	Retransmits
	RetransmitsSYN
	ErrorsChecksum
	ErrorsHeader
	ResetsSent
	AcceptQueueOverflows
	ListenDrops
	SYNCookiesSent
	SYNCookiesReceived
	SYNCookiesFailed
	SYNQueueResets
	TimeoutsRetransmit
	TimeoutsPersist
	TimeoutsKeepalive
	DropsTimeout
	KeepaliveProbes
	WindowProbesSent
	WindowProbesReceived
	SACKRecoveries
	SACKRetransmits
	DSACKsReceived
	SpuriousRetransmits
	LossProbes
	DelayedACKs
	DuplicateACKs
	OutOfOrder
	OutOfOrderDrops
	PAWSDrops
	ChallengeACKs
	BadSYNs
	ECNCESent // segments of ours that peers report as marked
	ECNCEReceived
	TimeWaitRecycled
	FinWait2Drops
	MemoryPressures
	ZeroWindowsAdvertised
	Orphans     // sockets
	MemoryUsage // bytes
	// The ports that the system gives to sockets that ask for none: the first of the
	// range, how many it has, and how many of them a socket has.
	EphemeralPortFirst
	EphemeralPortLimit
	EphemeralPortUsage

	// NumCounters is the number of system-wide numbers.
	NumCounters
)

// Counters are the system-wide numbers of one network namespace. A host that
// does not count something has no value for it. The zero Counters has none.
type Counters struct {
	values  [NumCounters]uint64
	present uint64
}

// Set makes c present with the value v.
func (cs *Counters) Set(c Counter, v uint64) {
	cs.values[c] = v
	cs.present |= 1 << c
}

// Unset makes c absent.
func (cs *Counters) Unset(c Counter) {
	cs.values[c] = 0
	cs.present &^= 1 << c
}

// Get returns c's value and whether the host has it.
func (cs *Counters) Get(c Counter) (v uint64, ok bool) {
	return cs.values[c], cs.present&(1<<c) != 0
}

// Len returns how many numbers are present.
func (cs *Counters) Len() int {
	n := 0
	for p := cs.present; p != 0; p &= p - 1 {
		n++
	}
	return n
}
