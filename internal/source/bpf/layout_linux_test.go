// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The programs' own description says where the fields of their records are.
func TestLayouts(t *testing.T) {
	for _, tt := range []struct {
		load    func() (*ebpf.CollectionSpec, error)
		of      string
		length  int
		members map[string]int
	}{
		{loadSockets, "head", headLen, map[string]int{
			"kind": headKind, "state": headState, "family": headFamily, "flags": headFlags, "local_port": headLocalPort, "peer_port": headPeerPort,
			"ifindex": headIfindex, "uid": headUID, "cookie": headCookie, "local": headLocal, "peer": headPeer,
		}},
		{loadSockets, "listener", listenerLen, map[string]int{"head": 0, "inode": listenerInode, "queue": listenerQueue, "limit": listenerLimit, "drops": listenerDrops}},
		{loadSockets, "connection", connectionLen, map[string]int{
			"head": 0, "inode": connectionInode, "bytes_sent": connectionBytesSent, "bytes_retrans": connectionBytesRetrans,
			"bytes_acked": connectionBytesAcked, "bytes_received": connectionBytesReceived, "pacing_rate": connectionPacingRate,
			"rto": connectionRTO, "snd_mss": connectionSendMSS, "rcv_mss": connectionReceiveMSS, "lost": connectionLost,
			"snd_cwnd": connectionCwnd, "snd_ssthresh": connectionSsthresh, "srtt_us": connectionSRTT, "mdev_us": connectionMdev,
			"min_rtt": connectionMinRTT, "total_retrans": connectionTotalRetrans, "since_sent": connectionSinceSent,
			"since_received": connectionSinceReceived, "since_acked": connectionSinceAcked, "segs_out": connectionSegsOut,
			"segs_in": connectionSegsIn, "notsent": connectionNotsent, "rate_delivered": connectionRateDelivered,
			"rate_interval_us": connectionRateIntervalUs, "chrono": connectionChrono, "delivered_ce": connectionDeliveredCE,
			"received_ce": connectionReceivedCE, "dsack_dups": connectionDSACKDups, "rcv_ooopack": connectionOutOfOrder,
			"snd_wnd": connectionSendWindow, "rcv_wnd": connectionReceiveWindow, "total_rto": connectionTotalRTO,
			"receive_queue": connectionReceiveQueue, "send_queue": connectionSendQueue, "rcvbuf": connectionReceiveLimit,
			"sndbuf": connectionSendLimit, "retransmits": connectionRetransmits, "congestion": connectionCongestion,
		}},
		{loadCloses, "connection", connectionLen, nil},
		{loadCloses, "holder", endingEstablished - connectionLen, map[string]int{
			"start": holderStart - connectionLen, "pid": holderPID - connectionLen, "uid": holderUID - connectionLen,
			"executable": holderExecutable - connectionLen, "is_comm": holderIsComm - connectionLen,
		}},
		{loadCloses, "ending", endingLen, map[string]int{
			"connection": 0, "holder": connectionLen, "established": endingEstablished, "handshake": endingHandshake, "ended": endingEnded,
			"error": endingError, "facts": endingFacts,
		}},
		{loadSockets, "life", lifeLen, map[string]int{
			"connecting": 0, "established": 8, "handshake": 16, "data_segs_in": 24, "finished": 28, "handled": 29,
			"role": lifeRole, "counted": lifeCounted, "total_retrans": 32, "retransmits": lifeRetransmits,
		}},
		{loadCloses, "change", changeLen, map[string]int{
			"cookie": changeCookie, "role": changeRole, "counted": changeCounted, "retransmits": changeRetransmits,
		}},
		{loadHolders, "holding", holdingLen, map[string]int{"pid": holdingPID, "fd": holdingFD, "inode": holdingInode}},
	} {
		spec, err := tt.load()
		require.NoError(t, err)
		var of *btf.Struct
		require.NoError(t, spec.Types.TypeByName(tt.of, &of), tt.of)
		assert.Equal(t, tt.length, int(of.Size), tt.of)
		if tt.members == nil {
			continue
		}
		members := make(map[string]int)
		for _, m := range of.Members {
			members[m.Name] = int(m.Offset.Bytes())
		}
		assert.Equal(t, tt.members, members, tt.of)
	}
}
