// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// emitter compiles testdata/emit.c, which includes the module's header.
func emitter(t testing.TB) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		t.Skipf("the offsets are not compared with kmod/tcpstats.h: no C compiler: %v", err)
	}
	const dir = "../../../kmod"
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the offsets are not compared with kmod/tcpstats.h, which is not here: %v", err)
	}
	program := filepath.Join(t.TempDir(), "emit")
	out, err := exec.Command(cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", dir, "-o", program, "testdata/emit.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

func emit(t testing.TB, program string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(program, args...).Output()
	require.NoError(t, err)
	return out
}

// Each member of the header is where this package thinks it is.
func TestOffsets(t *testing.T) {
	type place struct{ at, size int }
	c := map[string]place{}
	for _, line := range strings.Split(strings.TrimSpace(string(emit(t, emitter(t), "layout"))), "\n") {
		var name string
		var p place
		_, err := fmt.Sscan(line, &name, &p.at, &p.size)
		require.NoError(t, err, line)
		c[strings.TrimPrefix(name, "tcpstats_")] = p
	}
	want := map[string]place{
		"header": {0, headerLenV1}, "record": {0, recordLenV1}, "trailer": {0, trailerLenV1},

		"header.th_magic": {atHeaderMagic, 4}, "header.th_version": {atHeaderVersion, 2}, "header.th_header_len": {atHeaderLen, 2},
		"header.th_record_len": {atHeaderRecordLen, 2}, "header.th_trailer_len": {atHeaderTrailerLen, 2}, "header.th_flags": {atHeaderFlags, 4},
		"header.th_osreldate": {atHeaderOsreldate, 4}, "header.th_hz": {atHeaderHz, 4}, "header.th_realtime": {atHeaderRealtime, 8},
		"header.th_uptime": {atHeaderUptime, 8}, "header.th_vnet": {atHeaderVnet, 4}, "header.th_jail": {atHeaderJail, 4},
		"header.th_count": {atHeaderCount, 8}, "header.th_reserved": {56, 8},

		"record.tr_gencnt": {atGencnt, 8}, "record.tr_so": {atSocket, 8}, "record.tr_vnet": {atVnet, 4}, "record.tr_jail": {atJail, 4},
		"record.tr_uid": {atUID, 4}, "record.tr_family": {atFamily, 1}, "record.tr_ipver": {atIPVersion, 1}, "record.tr_vflag": {atVflag, 1},
		"record.tr_state": {atState, 1}, "record.tr_laddr": {atLocal, 16}, "record.tr_faddr": {atPeer, 16}, "record.tr_lport": {atLocalPort, 2},
		"record.tr_fport": {atPeerPort, 2}, "record.tr_zone": {atZone, 4}, "record.tr_valid": {atValid, 4}, "record.tr_flags": {atFlags, 4},
		"record.tr_srtt": {atSRTT, 4}, "record.tr_rttvar": {atRTTVar, 4}, "record.tr_rttmin": {atRTTMin, 4}, "record.tr_rto": {atRTO, 4},
		"record.tr_cwnd": {atCwnd, 4}, "record.tr_ssthresh": {atSsthresh, 4}, "record.tr_snd_wnd": {atSendWnd, 4}, "record.tr_rcv_wnd": {atRecvWnd, 4},
		"record.tr_maxseg": {atMaxseg, 4}, "record.tr_snd_scale": {atSendScale, 1}, "record.tr_rcv_scale": {atRecvScale, 1},
		"record.tr_rxtshift": {atRxtshift, 1}, "record.tr_pad": {119, 1},
		"record.tr_iss": {atISS, 4}, "record.tr_irs": {atIRS, 4}, "record.tr_snd_una": {atSendUna, 4}, "record.tr_snd_nxt": {atSendNxt, 4},
		"record.tr_snd_max": {atSendMax, 4}, "record.tr_rcv_nxt": {atRecvNxt, 4}, "record.tr_rcv_adv": {atRecvAdv, 4}, "record.tr_snd_fack": {atSendFack, 4},
		"record.tr_sent_bytes": {atSentBytes, 8}, "record.tr_rexmit_bytes": {atRexmitBytes, 8}, "record.tr_tlp_bytes": {atTLPBytes, 8},
		"record.tr_rexmits": {atRexmits, 4}, "record.tr_ooo": {atOutOfOrder, 4}, "record.tr_zerowin": {atZeroWindows, 4},
		"record.tr_dupacks": {atDupacks, 4}, "record.tr_tlps": {atTLPs, 4}, "record.tr_rcv_sacks": {atRecvSacks, 4}, "record.tr_snd_holes": {atSendHoles, 4},
		"record.tr_sacked": {atSacked, 4}, "record.tr_sack_rexmit": {atSackRexmit, 4}, "record.tr_dsacks": {atDSACKs, 4},
		"record.tr_dsack_bytes": {atDSACKBytes, 4}, "record.tr_dsack_tlp_bytes": {atDSACKTLP, 4},
		"record.tr_delivered_ce": {atDeliveredCE, 4}, "record.tr_received_ce": {atReceivedCE, 4},
		"record.tr_t_rexmt": {atTimerRexmt, 4}, "record.tr_t_persist": {atTimerPerst, 4}, "record.tr_t_keep": {atTimerKeep, 4},
		"record.tr_t_2msl": {atTimer2MSL, 4}, "record.tr_t_delack": {atTimerDelack, 4}, "record.tr_reass": {atReassembly, 4},
		"record.tr_idle_rcv": {atIdleRecv, 8}, "record.tr_idle_snd": {atIdleSend, 8}, "record.tr_age": {atAge, 8}, "record.tr_pacing_rate": {atPacingRate, 8},
		"record.tr_rcv_cc": {atRecvUsed, 4}, "record.tr_rcv_hiwat": {atRecvLimit, 4}, "record.tr_snd_cc": {atSendUsed, 4}, "record.tr_snd_hiwat": {atSendLimit, 4},
		"record.tr_qlen": {atQueue, 4}, "record.tr_incqlen": {atIncomplete, 4}, "record.tr_qlimit": {atQueueLimit, 4}, "record.tr_error": {atError, 4},
		"record.tr_cc": {atCongestion, 16}, "record.tr_stack": {atStack, 32},

		"trailer.tt_magic": {atTrailerMagic, 4}, "trailer.tt_reserved": {4, 4}, "trailer.tt_seen": {atTrailerSeen, 8},
		"trailer.tt_records": {atTrailerRecords, 8}, "trailer.tt_withheld": {atTrailerWithheld, 8}, "trailer.tt_spare": {32, 8},
		"trailer.tt_cut": {atTrailerCut, 8}, "trailer.tt_fresh": {atTrailerFresh, 8}, "trailer.tt_syncache": {atTrailerSyncache, 8},
		"trailer.tt_duration": {atTrailerDuration, 8},

		"ends_header": {0, endsHeaderLenV1}, "process": {0, processLen}, "end": {0, endLenV1},

		"ends_header.eh_magic": {atEndsMagic, 4}, "ends_header.eh_version": {atEndsVersion, 2}, "ends_header.eh_header_len": {atEndsHeaderLen, 2},
		"ends_header.eh_end_len": {atEndsEndLen, 2}, "ends_header.eh_record_len": {atEndsRecordLen, 2}, "ends_header.eh_count": {atEndsCount, 4},
		"ends_header.eh_pending": {atEndsPending, 8}, "ends_header.eh_lost": {atEndsLost, 8}, "ends_header.eh_realtime": {atEndsRealtime, 8},
		"ends_header.eh_uptime": {atEndsUptime, 8}, "ends_header.eh_vnet": {atEndsVnet, 4}, "ends_header.eh_jail": {atEndsJail, 4},
		"ends_header.eh_osreldate": {atEndsOsreldate, 4}, "ends_header.eh_flags": {atEndsFlags, 4},

		"process.tp_started": {atProcessStarted, 8}, "process.tp_pid": {atProcessPID, 4}, "process.tp_uid": {atProcessUID, 4},
		"process.tp_comm": {atProcessComm, commLen}, "process.tp_jail": {atProcessJail, 4},

		"end.te_record": {0, recordLenV1}, "end.te_began": {recordLenV1 + atEndBegan, 8}, "end.te_established": {recordLenV1 + atEndEstablished, 8},
		"end.te_ended": {recordLenV1 + atEndEnded, 8}, "end.te_sent": {recordLenV1 + atEndSent, 8}, "end.te_received": {recordLenV1 + atEndReceived, 8},
		"end.te_flags": {recordLenV1 + atEndFlags, 4}, "end.te_states": {recordLenV1 + atEndStates, 4}, "end.te_info": {recordLenV1 + atEndInfo, 4},
		"end.te_error": {recordLenV1 + atEndError, 4}, "end.te_first": {recordLenV1 + atEndFirst, processLen}, "end.te_last": {recordLenV1 + atEndLast, processLen},

		"vnet": {0, vnetLen}, "vnet.tv_vnet": {atVnetJail, 4}, "vnet.tv_stats_len": {atVnetStatsLen, 4}, "vnet.tv_born": {atVnetBorn, 8},
		"vnet.tv_name": {atVnetName, 256}, "vnet.tv_states": {atVnetStates, 16 * 8}, "vnet.tv_stats": {atVnetStats, 192 * 8},

		"TCPSTATS_ENDS_MAGIC": {endsMagic, 0}, "TCPSTATS_ENDS_VERSION": {minEndsVersion, 0}, "TCPSTATS_COMM_LEN": {commLen, 0},
		"TCPSTATS_EF_TAKEN": {endTaken, 0}, "TCPSTATS_EF_RST_SENT": {endResetSent, 0}, "TCPSTATS_EF_FIN_RCVD": {endFinReceived, 0},
		"TCPSTATS_MAGIC": {magic, 0}, "TCPSTATS_TRAILER_MAGIC": {trailerMagic, 0}, "TCPSTATS_VERSION": {minVersion, 0},
		"TCPSTATS_V_SEQ": {validSequences, 0}, "TCPSTATS_V_TCB": {validTCB, 0}, "TCPSTATS_V_RTT": {validRTT, 0}, "TCPSTATS_V_RTTMIN": {validRTTMin, 0},
		"TCPSTATS_V_RTO": {validRTO, 0}, "TCPSTATS_V_BYTES": {validBytes, 0}, "TCPSTATS_V_DSACK": {validDSACK, 0}, "TCPSTATS_V_ECN": {validECN, 0},
		"TCPSTATS_V_IDLE_SND": {validIdleSend, 0}, "TCPSTATS_V_AGE": {validAge, 0}, "TCPSTATS_V_PACING": {validPacing, 0},
		"TCPSTATS_V_SOCKBUF": {validBuffers, 0}, "TCPSTATS_V_QUEUE": {validQueue, 0},
		"TCPSTATS_F_SENTFIN": {flagSentFin, 0}, "TCPSTATS_F_NOTACCEPTED": {flagNotAccepted, 0}, "TCPSTATS_F_NOFD": {flagNoFD, 0},
	}
	for name, p := range want {
		assert.Equal(t, c[name], p, name)
	}
	for name := range c {
		for _, of := range []string{"header", "record", "trailer", "ends_header", "process", "end", "vnet"} {
			if strings.HasPrefix(name, of+".") {
				assert.Contains(t, want, name, "in the header, not here")
			}
		}
	}
}

// The fixture, for machines without a compiler, is what the compiler makes.
func TestFixture(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("the fixture is of a little-endian machine")
	}
	want := emit(t, emitter(t), "walk", "0")
	got, err := os.ReadFile("testdata/walk-v1.bin")
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "make testdata/walk-v1.bin anew: emit walk 0")
}

// Records of a later version, longer than today's, read as today's.
func TestGrownRecords(t *testing.T) {
	program := emitter(t)
	want := sockets(t, emit(t, program, "walk", "0"))
	for _, grown := range []int{8, 24, 4096, 65535 - recordLenV1} {
		assert.Equal(t, want, sockets(t, emit(t, program, "walk", strconv.Itoa(grown))), "%d bytes longer", grown)
	}
}
