// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// recipes says of which of the kernel's numbers a counter is made. It is there
// only where all of them are. FreeBSD does not count the resets it sends, the
// CE marks that peers report, memory pressure, nor windows it closed; orphans
// and memory it does not sum up.
var recipes = [...]struct {
	counter tcp.Counter
	sum     []stat
}{
	{tcp.OpensClient, []stat{connAttempt}},
	{tcp.OpensServer, []stat{accepts}},
	{tcp.AttemptsFailed, []stat{connDrops, scReset, scStale}},
	{tcp.ConnectionResets, []stat{drops}},
	{tcp.SegmentsReceived, []stat{rcvTotal}},
	{tcp.SegmentsSent, []stat{sndTotal}},
	{tcp.Retransmits, []stat{sndRexmit, scRetransmitted}},
	{tcp.RetransmitsSYN, []stat{scRetransmitted}},
	{tcp.ErrorsChecksum, []stat{rcvBadSum}},
	{tcp.ErrorsHeader, []stat{rcvBadOffset, rcvShort}},
	{tcp.AcceptQueueOverflows, []stat{listenDrop}},
	{tcp.ListenDrops, []stat{listenDrop, scBucketOverflow, scZoneFail}},
	{tcp.SYNCookiesSent, []stat{scSendCookie}},
	{tcp.SYNCookiesReceived, []stat{scRecvCookie}},
	{tcp.SYNCookiesFailed, []stat{scFailCookie, scSpurCookie}},
	{tcp.SYNQueueResets, []stat{scReset}},
	{tcp.TimeoutsRetransmit, []stat{rexmtTimeout}},
	{tcp.TimeoutsPersist, []stat{persistTimeout}},
	{tcp.TimeoutsKeepalive, []stat{keepTimeout}},
	{tcp.DropsTimeout, []stat{timeoutDrop, keepDrops, persistDrop}},
	{tcp.KeepaliveProbes, []stat{keepProbe}},
	{tcp.WindowProbesSent, []stat{sndProbe}},
	{tcp.WindowProbesReceived, []stat{rcvWinProbe}},
	{tcp.SACKRecoveries, []stat{sackRecoveries}},
	{tcp.SACKRetransmits, []stat{sackRexmits}},
	{tcp.DSACKsReceived, []stat{dsacks}},
	{tcp.SpuriousRetransmits, []stat{sndRexmitBad}},
	{tcp.LossProbes, []stat{tlpResends}},
	{tcp.DelayedACKs, []stat{delayedACK}},
	{tcp.DuplicateACKs, []stat{rcvDupACK}},
	{tcp.OutOfOrder, []stat{rcvOutOfOrder}},
	{tcp.OutOfOrderDrops, []stat{rcvReassFull}},
	{tcp.PAWSDrops, []stat{pawsDrop}},
	{tcp.ChallengeACKs, []stat{badRST}},
	{tcp.BadSYNs, []stat{badSYN}},
	{tcp.ECNCEReceived, []stat{ecnCE}},
	{tcp.TimeWaitRecycled, []stat{twRecycles}},
	{tcp.FinWait2Drops, []stat{finWait2Drops}},
}

// counters makes the counters of net.inet.tcp.stats. With an error, which says
// that the layout is not known, it returns those that are the same in all.
func counters(raw []byte, osreldate int) (tcp.Counters, error) {
	var cs tcp.Counters
	stats, err := parseStat(raw, osreldate)
recipe:
	for i := range recipes {
		var sum uint64
		for _, n := range recipes[i].sum {
			v, ok := stats.get(n)
			if !ok {
				continue recipe
			}
			sum += v
		}
		cs.Set(recipes[i].counter, sum)
	}
	return cs, err
}

// setPorts sets the range of ephemeral ports, which an administrator may give the
// wrong way round (in_pcb_lport_dest in sys/netinet/in_pcb.c).
func setPorts(cs *tcp.Counters, first, last int32) {
	first, last = min(first, last), max(first, last)
	cs.Set(tcp.EphemeralPortFirst, uint64(first))
	cs.Set(tcp.EphemeralPortLimit, uint64(last-first)+1)
}

// countersOf decodes both, as far as they can be.
func countersOf(rawStats, rawStates []byte, osreldate int) (tcp.Counters, tcp.States, error) {
	cs, errStats := counters(rawStats, osreldate)
	n, errStates := states(rawStates)
	return cs, n, errors.Join(errStats, errStates)
}

// states reads net.inet.tcp.states, a 64-bit number for each state of
// <netinet/tcp_fsm.h>.
func states(raw []byte) (n tcp.States, err error) {
	if len(raw) != 8*len(n) {
		return n, fmt.Errorf("net.inet.tcp.states of %d bytes, not %d: %w", len(raw), 8*len(n), errLayout)
	}
	for i := range n {
		// Each CPU counts for itself, and they are summed up while they count.
		n[i] = max(0, int64(binary.NativeEndian.Uint64(raw[8*i:])))
	}
	return n, nil
}
