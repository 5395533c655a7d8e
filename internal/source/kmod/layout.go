// SPDX-License-Identifier: Apache-2.0

package kmod

// Offsets and values of kmod/tcpstats.h, version 1. Later versions append
// members, and say so by the lengths in the header.

// struct tcpstats_header.
const (
	headerLenV1 = 64

	atHeaderMagic      = 0  // u32
	atHeaderVersion    = 4  // u16
	atHeaderLen        = 6  // u16
	atHeaderRecordLen  = 8  // u16
	atHeaderTrailerLen = 10 // u16
	atHeaderFlags      = 12 // u32
	atHeaderOsreldate  = 16 // u32
	atHeaderHz         = 20 // u32
	atHeaderRealtime   = 24 // u64, ns
	atHeaderUptime     = 32 // u64, ns
	atHeaderVnet       = 40 // u32
	atHeaderJail       = 44 // u32
	atHeaderCount      = 48 // u64
)

// struct tcpstats_record.
const (
	recordLenV1 = 368

	atGencnt      = 0   // u64
	atSocket      = 8   // u64
	atVnet        = 16  // u32
	atJail        = 20  // u32
	atUID         = 24  // u32
	atFamily      = 28  // u8
	atIPVersion   = 29  // u8
	atVflag       = 30  // u8
	atState       = 31  // u8
	atLocal       = 32  // 16 bytes
	atPeer        = 48  // 16 bytes
	atLocalPort   = 64  // u16
	atPeerPort    = 66  // u16
	atZone        = 68  // u32
	atValid       = 72  // u32
	atFlags       = 76  // u32
	atSRTT        = 80  // u32, µs
	atRTTVar      = 84  // u32, µs
	atRTTMin      = 88  // u32, µs
	atRTO         = 92  // u32, µs
	atCwnd        = 96  // u32
	atSsthresh    = 100 // u32
	atSendWnd     = 104 // u32
	atRecvWnd     = 108 // u32
	atMaxseg      = 112 // u32
	atSendScale   = 116 // u8
	atRecvScale   = 117 // u8
	atRxtshift    = 118 // u8
	atISS         = 120 // u32
	atIRS         = 124 // u32
	atSendUna     = 128 // u32
	atSendNxt     = 132 // u32
	atSendMax     = 136 // u32
	atRecvNxt     = 140 // u32
	atRecvAdv     = 144 // u32
	atSendFack    = 148 // u32
	atSentBytes   = 152 // u64
	atRexmitBytes = 160 // u64
	atTLPBytes    = 168 // u64
	atRexmits     = 176 // u32
	atOutOfOrder  = 180 // u32
	atZeroWindows = 184 // u32
	atDupacks     = 188 // u32
	atTLPs        = 192 // u32
	atRecvSacks   = 196 // u32
	atSendHoles   = 200 // u32
	atSacked      = 204 // u32
	atSackRexmit  = 208 // u32
	atDSACKs      = 212 // u32
	atDSACKBytes  = 216 // u32
	atDSACKTLP    = 220 // u32
	atDeliveredCE = 224 // u32
	atReceivedCE  = 228 // u32
	atTimerRexmt  = 232 // u32, ms
	atTimerPerst  = 236 // u32, ms
	atTimerKeep   = 240 // u32, ms
	atTimer2MSL   = 244 // u32, ms
	atTimerDelack = 248 // u32, ms
	atReassembly  = 252 // u32
	atIdleRecv    = 256 // u64, µs
	atIdleSend    = 264 // u64, µs
	atAge         = 272 // u64, µs
	atPacingRate  = 280 // i64
	atRecvUsed    = 288 // u32
	atRecvLimit   = 292 // u32
	atSendUsed    = 296 // u32
	atSendLimit   = 300 // u32
	atQueue       = 304 // u32
	atIncomplete  = 308 // u32
	atQueueLimit  = 312 // u32
	atError       = 316 // u32
	atCongestion  = 320 // char[16]
	atStack       = 336 // char[32]
)

// struct tcpstats_trailer.
const (
	trailerLenV1 = 72

	atTrailerMagic    = 0  // u32
	atTrailerSeen     = 8  // u64
	atTrailerRecords  = 16 // u64
	atTrailerWithheld = 24 // u64
	atTrailerCut      = 40 // u64
	atTrailerFresh    = 48 // u64
	atTrailerSyncache = 56 // u64
	atTrailerDuration = 64 // u64, ns
)

const (
	magic        = 0x53504354 // TCPSTATS_MAGIC
	trailerMagic = 0x45504354 // TCPSTATS_TRAILER_MAGIC
	minVersion   = 1          // TCPSTATS_VERSION; later ones only append
)

// tr_valid: groups of members that are known.
const (
	validSequences = 0x0001 // TCPSTATS_V_SEQ
	validTCB       = 0x0002 // TCPSTATS_V_TCB
	validRTT       = 0x0004 // TCPSTATS_V_RTT
	validRTTMin    = 0x0008 // TCPSTATS_V_RTTMIN
	validRTO       = 0x0010 // TCPSTATS_V_RTO
	validBytes     = 0x0020 // TCPSTATS_V_BYTES
	validDSACK     = 0x0040 // TCPSTATS_V_DSACK
	validECN       = 0x0080 // TCPSTATS_V_ECN
	validIdleSend  = 0x0100 // TCPSTATS_V_IDLE_SND
	validAge       = 0x0200 // TCPSTATS_V_AGE
	validPacing    = 0x0400 // TCPSTATS_V_PACING
	validBuffers   = 0x0800 // TCPSTATS_V_SOCKBUF
	validQueue     = 0x1000 // TCPSTATS_V_QUEUE
)

// tr_flags, those that are used here.
const (
	flagSentFin     = 0x0200 // TCPSTATS_F_SENTFIN
	flagNotAccepted = 0x2000 // TCPSTATS_F_NOTACCEPTED
	flagNoFD        = 0x4000 // TCPSTATS_F_NOFD
)

// struct tcpstats_ends_header.
const (
	endsHeaderLenV1 = 64

	atEndsMagic     = 0  // u32
	atEndsVersion   = 4  // u16
	atEndsHeaderLen = 6  // u16
	atEndsEndLen    = 8  // u16
	atEndsRecordLen = 10 // u16
	atEndsCount     = 12 // u32
	atEndsPending   = 16 // u64
	atEndsLost      = 24 // u64
	atEndsRealtime  = 32 // u64, ns
	atEndsUptime    = 40 // u64, ns
	atEndsVnet      = 48 // u32
	atEndsJail      = 52 // u32
	atEndsOsreldate = 56 // u32
	atEndsFlags     = 60 // u32
)

// struct tcpstats_process.
const (
	processLen = 40

	atProcessStarted = 0  // u64, ns since boot
	atProcessPID     = 8  // u32
	atProcessUID     = 12 // u32
	atProcessComm    = 16 // char[20]
	atProcessJail    = 36 // u32
)

// struct tcpstats_end, from the end of its record on: the record may grow.
const (
	endLenV1 = recordLenV1 + endTailLenV1

	endTailLenV1 = 136

	atEndBegan       = 0  // u64, ns since boot
	atEndEstablished = 8  // u64, ns since boot
	atEndEnded       = 16 // u64, ns since boot
	atEndSent        = 24 // u64
	atEndReceived    = 32 // u64
	atEndFlags       = 40 // u32
	atEndStates      = 44 // u32
	atEndInfo        = 48 // u32
	atEndError       = 52 // u32
	atEndFirst       = 56 // struct tcpstats_process
	atEndLast        = 96 // struct tcpstats_process
)

// struct tcpstats_vnet.
const (
	vnetLen = 1936

	atVnetJail     = 0   // u32
	atVnetStatsLen = 4   // u32
	atVnetBorn     = 8   // u64, ns since boot
	atVnetName     = 16  // char[256]
	atVnetStates   = 272 // u64[16], of which tcp.NumStates are states
	atVnetStats    = 400 // u64[192], of which atVnetStatsLen are bytes
)

const (
	endsMagic      = 0x46504354 // TCPSTATS_ENDS_MAGIC
	minEndsVersion = 1          // TCPSTATS_ENDS_VERSION; later ones only append
)

// te_flags.
const (
	endTaken       = 0x1 // TCPSTATS_EF_TAKEN
	endResetSent   = 0x2 // TCPSTATS_EF_RST_SENT
	endFinReceived = 0x4 // TCPSTATS_EF_FIN_RCVD
)
