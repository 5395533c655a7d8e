// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"encoding/binary"
	"fmt"
)

// stat is one number of struct tcpstat in <netinet/tcp_var.h>. All are 64 bits
// wide.
type stat uint8

const (
	connAttempt stat = iota
	accepts
	drops
	connDrops
	delayedACK
	timeoutDrop
	rexmtTimeout
	persistTimeout
	keepTimeout
	keepProbe
	keepDrops
	sndTotal
	sndRexmit
	sndRexmitBad
	sndProbe
	rcvTotal
	rcvBadSum
	rcvBadOffset
	rcvReassFull
	rcvShort
	rcvOutOfOrder
	rcvWinProbe
	rcvDupACK
	pawsDrop
	persistDrop
	badSYN
	listenDrop
	badRST
	scRetransmitted
	scBucketOverflow
	scReset
	scStale
	scZoneFail
	scSendCookie
	scRecvCookie
	scSpurCookie
	scFailCookie
	finWait2Drops
	sackRecoveries
	sackRexmits
	ecnCE
	dsacks
	twRecycles
	tlpResends

	numStats
)

// none is the place of a number that a version does not have.
const none = -1

// places is where each number is, in bytes, in 13, 14 and 15. The struct grows
// in the middle, but not within a stable branch, where spare numbers at its end
// are given names. 13.2 and 15.1 were seen; 14 is from its header.
var places = [numStats][3]int16{
	connAttempt:      {0, 0, 0},         // tcps_connattempt
	accepts:          {8, 8, 8},         // tcps_accepts
	drops:            {24, 24, 24},      // tcps_drops
	connDrops:        {32, 32, 32},      // tcps_conndrops
	delayedACK:       {72, 72, 72},      // tcps_delack
	timeoutDrop:      {80, 80, 80},      // tcps_timeoutdrop
	rexmtTimeout:     {88, 88, 88},      // tcps_rexmttimeo
	persistTimeout:   {96, 96, 96},      // tcps_persisttimeo
	keepTimeout:      {104, 104, 104},   // tcps_keeptimeo
	keepProbe:        {112, 112, 112},   // tcps_keepprobe
	keepDrops:        {120, 120, 120},   // tcps_keepdrops
	sndTotal:         {128, 136, 136},   // tcps_sndtotal, after tcps_progdrops
	sndRexmit:        {152, 160, 160},   // tcps_sndrexmitpack
	sndRexmitBad:     {168, 176, 176},   // tcps_sndrexmitbad
	sndProbe:         {184, 192, 192},   // tcps_sndprobe
	rcvTotal:         {216, 224, 224},   // tcps_rcvtotal
	rcvBadSum:        {240, 248, 248},   // tcps_rcvbadsum
	rcvBadOffset:     {248, 256, 256},   // tcps_rcvbadoff
	rcvReassFull:     {256, 264, 264},   // tcps_rcvreassfull
	rcvShort:         {264, 272, 272},   // tcps_rcvshort
	rcvOutOfOrder:    {304, 312, 312},   // tcps_rcvoopack
	rcvWinProbe:      {344, 352, 352},   // tcps_rcvwinprobe
	rcvDupACK:        {352, 360, 360},   // tcps_rcvdupack
	pawsDrop:         {392, 400, 400},   // tcps_pawsdrop
	persistDrop:      {472, 480, 480},   // tcps_persistdrop
	badSYN:           {480, 488, 488},   // tcps_badsyn
	listenDrop:       {496, 504, 504},   // tcps_listendrop
	badRST:           {504, 512, 512},   // tcps_badrst
	scRetransmitted:  {520, 528, 528},   // tcps_sc_retransmitted
	scBucketOverflow: {552, 560, 560},   // tcps_sc_bucketoverflow
	scReset:          {568, 576, 576},   // tcps_sc_reset
	scStale:          {576, 584, 584},   // tcps_sc_stale
	scZoneFail:       {608, 616, 616},   // tcps_sc_zonefail
	scSendCookie:     {616, 624, 624},   // tcps_sc_sendcookie
	scRecvCookie:     {624, 632, 632},   // tcps_sc_recvcookie
	scSpurCookie:     {none, none, 640}, // tcps_sc_spurcookie
	scFailCookie:     {none, none, 648}, // tcps_sc_failcookie
	finWait2Drops:    {648, 656, 672},   // tcps_finwait2_drops
	sackRecoveries:   {656, 664, 680},   // tcps_sack_recovery_episode
	sackRexmits:      {664, 672, 688},   // tcps_sack_rexmits, in 15 before tcps_sack_rexmits_tso
	ecnCE:            {704, 720, 744},   // tcps_ecn_rcvce, in 13 tcps_ecn_ce
	dsacks:           {none, 840, 864},  // tcps_dsack_count
	twRecycles:       {824, 864, 888},   // tcps_tw_recycles
	tlpResends:       {none, 936, 960},  // tcps_tlpresends
}

// Lengths of struct tcpstat.
const (
	statLen13 = 904
	statLen14 = 984
	statLen15 = 1000

	// statLenCommon is how much of it is the same in all of them.
	statLenCommon = 128
)

// tcpstat is net.inet.tcp.stats as read.
type tcpstat struct {
	raw    []byte
	column int  // of places
	common bool // only what all layouts have in common is known
}

// parseStat tells the layout of net.inet.tcp.stats by its length, which no jail
// can be deceived about, and by osreldate where that is newer than any layout
// known here. With an error it returns what all layouts have in common, if
// there is that much.
func parseStat(raw []byte, osreldate int) (tcpstat, error) {
	s := tcpstat{raw: raw}
	switch {
	case len(raw) == statLen13:
		s.column = 0
	case len(raw) == statLen14:
		s.column = 1
	case len(raw) == statLen15 && osreldate < 1600000:
		s.column = 2
	default:
		s.common = true
		return s, fmt.Errorf("net.inet.tcp.stats: struct tcpstat of %d bytes on a kernel of osreldate %d: %w (known are %d of FreeBSD 13, %d of 14 and %d of 15)",
			len(raw), osreldate, errLayout, statLen13, statLen14, statLen15)
	}
	return s, nil
}

// get returns a number, and whether this kernel has it.
func (s *tcpstat) get(n stat) (v uint64, ok bool) {
	at := int(places[n][s.column])
	if at == none || at+8 > len(s.raw) || s.common && at+8 > statLenCommon {
		return 0, false
	}
	return binary.NativeEndian.Uint64(s.raw[at:]), true
}
