// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func states(list ...tcp.State) (set uint32) {
	for _, s := range list {
		set |= 1 << s
	}
	return set
}

func TestCauses(t *testing.T) {
	for name, tt := range map[string]struct {
		e    ending
		want tcp.Cause
	}{
		"we closed first":               {ending{left: tcp.TimeWait, info: info2MSL | 1}, tcp.LocalClose},
		"we closed first, 13":           {ending{left: tcp.TimeWait}, tcp.LocalClose},
		"both at once":                  {ending{left: tcp.Closing}, tcp.LocalClose},
		"the peer closed first":         {ending{left: tcp.LastAck}, tcp.PeerClose},
		"the peer's reset":              {ending{left: tcp.Established, info: infoPeerReset}, tcp.PeerReset},
		"the peer's reset, 13":          {ending{left: tcp.Established}, tcp.PeerReset},
		"the peer's, after its FIN":     {ending{left: tcp.CloseWait}, tcp.PeerReset},
		"the peer's, after our FIN":     {ending{left: tcp.FinWait2, err: errConnReset}, tcp.PeerReset},
		"our reset":                     {ending{left: tcp.Established, flags: endResetSent}, tcp.LocalReset},
		"data after close":              {ending{left: tcp.FinWait2, info: infoLateData | infoReset}, tcp.LocalReset},
		"retransmissions ran out":       {ending{left: tcp.Established, info: infoRetransmit, flags: endResetSent}, tcp.TimeoutCause},
		"retransmissions ran out, 13":   {ending{left: tcp.Established, backOff: maxBackOff, flags: endResetSent}, tcp.TimeoutCause},
		"keepalives unanswered":         {ending{left: tcp.Established, info: infoKeepalive, flags: endResetSent}, tcp.TimeoutCause},
		"nobody has read the error":     {ending{left: tcp.Established, err: errTimedOut, flags: endResetSent}, tcp.TimeoutCause},
		"a router said no":              {ending{left: tcp.Established, err: errHostUnreachable, flags: endResetSent}, tcp.TimeoutCause},
		"the peer's FIN never came":     {ending{left: tcp.FinWait2, info: info2MSL}, tcp.TimeoutCause},
		"nothing says, after our FIN":   {ending{left: tcp.FinWait1}, tcp.UnknownCause},
		"nothing says, in FIN_WAIT_2":   {ending{left: tcp.FinWait2}, tcp.UnknownCause},
		"dropped from the accept queue": {ending{left: tcp.Established, err: errConnAborted}, tcp.Aborted},
	} {
		assert.Equal(t, tt.want, tt.e.cause(), name)
	}
}

func TestFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		e    ending
		want tcp.Failure
	}{
		"refused":                 {ending{info: infoRefused, allCauses: true}, tcp.Refused},
		"refused, error unread":   {ending{err: errConnRefused}, tcp.Refused},
		"reset":                   {ending{err: errConnReset}, tcp.Reset},
		"timed out":               {ending{info: infoKeepalive, allCauses: true}, tcp.TimedOut},
		"timed out, routers":      {ending{info: infoKeepalive, softErr: errHostUnreachable, allCauses: true}, tcp.HostUnreachable},
		"no route":                {ending{err: errNetUnreachable}, tcp.NetUnreachable},
		"host down":               {ending{err: errHostDown}, tcp.HostUnreachable},
		"the process gave up":     {ending{allCauses: true}, tcp.OtherFailure},
		"anything, 13":            {ending{}, tcp.NoFailure},
		"retransmissions ran out": {ending{backOff: maxBackOff}, tcp.TimedOut},
	} {
		tt.e.states = states(tcp.SynSent)
		assert.True(t, tt.e.neverEstablished())
		assert.Equal(t, tt.want, tt.e.failure(), name)
	}
}

func TestRoles(t *testing.T) {
	for name, tt := range map[string]struct {
		e    ending
		want tcp.Role
	}{
		"connected":       {ending{states: states(tcp.SynSent, tcp.Established)}, tcp.Client},
		"older, connects": {ending{states: states(tcp.SynSent, tcp.Established), flags: endTaken}, tcp.Client},
		"accepted":        {ending{states: states(tcp.Established, tcp.CloseWait)}, tcp.Server},
		"older":           {ending{states: states(tcp.Established), flags: endTaken}, tcp.NoRole},
	} {
		assert.Equal(t, tt.want, tt.e.role(), name)
		assert.False(t, tt.e.neverEstablished(), name)
	}
}
