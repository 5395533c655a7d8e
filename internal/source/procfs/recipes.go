// SPDX-License-Identifier: Apache-2.0

package procfs

import "github.com/netpulse/tcpstatsreceiver/internal/tcp"

// file is one of the files with counters.
type file uint8

const (
	snmp     file = iota // RFC 4022's counters (net/ipv4/proc.c snmp4_tcp_list)
	netstat              // Linux's own (net/ipv4/proc.c snmp4_net_list)
	sockstat             // the state of the moment (net/ipv4/proc.c sockstat_seq_show)
	numFiles
)

// recipe says of which of the kernel's numbers a counter is made. It is there
// only where all of them are: older kernels lack some.
type recipe struct {
	counter tcp.Counter
	file    file
	add     []string
	sub     []string
	pages   bool // the numbers are in pages, the counter in bytes
}

// recipes has a line for each counter that Linux has. It does not count the
// timeouts of persist and keepalive timers, nor what it receives of window
// probes, duplicate ACKs and CE marks on segments of TCP, nor the connections
// dropped in FIN_WAIT_2.
var recipes = [...]recipe{
	{counter: tcp.OpensClient, file: snmp, add: []string{"ActiveOpens"}},
	{counter: tcp.OpensServer, file: snmp, add: []string{"PassiveOpens"}},
	{counter: tcp.AttemptsFailed, file: snmp, add: []string{"AttemptFails"}},
	{counter: tcp.ConnectionResets, file: snmp, add: []string{"EstabResets"}},
	{counter: tcp.SegmentsReceived, file: snmp, add: []string{"InSegs"}},
	{counter: tcp.SegmentsSent, file: snmp, add: []string{"OutSegs", "RetransSegs"}}, // OutSegs has none sent again
	{counter: tcp.Retransmits, file: snmp, add: []string{"RetransSegs"}},
	{counter: tcp.ErrorsChecksum, file: snmp, add: []string{"InCsumErrors"}},
	{counter: tcp.ErrorsHeader, file: snmp, add: []string{"InErrs"}, sub: []string{"InCsumErrors"}},
	{counter: tcp.ResetsSent, file: snmp, add: []string{"OutRsts"}},

	{counter: tcp.RetransmitsSYN, file: netstat, add: []string{"TCPSynRetrans"}},
	{counter: tcp.AcceptQueueOverflows, file: netstat, add: []string{"ListenOverflows"}},
	{counter: tcp.ListenDrops, file: netstat, add: []string{"ListenDrops"}},
	{counter: tcp.SYNCookiesSent, file: netstat, add: []string{"SyncookiesSent"}},
	{counter: tcp.SYNCookiesReceived, file: netstat, add: []string{"SyncookiesRecv"}},
	{counter: tcp.SYNCookiesFailed, file: netstat, add: []string{"SyncookiesFailed"}},
	{counter: tcp.SYNQueueResets, file: netstat, add: []string{"EmbryonicRsts"}},
	{counter: tcp.TimeoutsRetransmit, file: netstat, add: []string{"TCPTimeouts"}},
	{counter: tcp.DropsTimeout, file: netstat, add: []string{"TCPAbortOnTimeout"}},
	{counter: tcp.KeepaliveProbes, file: netstat, add: []string{"TCPKeepAlive"}},
	{counter: tcp.WindowProbesSent, file: netstat, add: []string{"TCPWinProbe"}},
	{counter: tcp.SACKRecoveries, file: netstat, add: []string{"TCPSackRecovery"}},
	{counter: tcp.SACKRetransmits, file: netstat, add: []string{"TCPFastRetrans"}},
	{counter: tcp.DSACKsReceived, file: netstat, add: []string{"TCPDSACKRecv"}},
	{counter: tcp.SpuriousRetransmits, file: netstat, add: []string{"TCPSpuriousRTOs"}},
	{counter: tcp.LossProbes, file: netstat, add: []string{"TCPLossProbes"}},
	{counter: tcp.DelayedACKs, file: netstat, add: []string{"DelayedACKs"}},
	{counter: tcp.OutOfOrder, file: netstat, add: []string{"TCPOFOQueue"}},
	{counter: tcp.OutOfOrderDrops, file: netstat, add: []string{"TCPOFODrop"}},
	{counter: tcp.PAWSDrops, file: netstat, add: []string{"PAWSEstab", "PAWSActive"}},
	{counter: tcp.ChallengeACKs, file: netstat, add: []string{"TCPChallengeACK"}},
	{counter: tcp.BadSYNs, file: netstat, add: []string{"TCPSYNChallenge"}},
	{counter: tcp.ECNCESent, file: netstat, add: []string{"TCPDeliveredCE"}},
	{counter: tcp.TimeWaitRecycled, file: netstat, add: []string{"TWRecycled"}},
	{counter: tcp.MemoryPressures, file: netstat, add: []string{"TCPMemoryPressures"}},
	{counter: tcp.ZeroWindowsAdvertised, file: netstat, add: []string{"TCPToZeroWindowAdv"}},

	// These two are of the whole host, whatever the network namespace. Memory is
	// in units of 4096 bytes, not pages, in Linux 4.11 to 5.19 (SK_MEM_QUANTUM):
	// with those and pages of 64 KiB the value is 16 times too high.
	{counter: tcp.Orphans, file: sockstat, add: []string{"orphan"}},
	{counter: tcp.MemoryUsage, file: sockstat, add: []string{"mem"}, pages: true},
}
