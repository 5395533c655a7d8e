// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// What the live test cannot bring about, or only one way.
func TestCause(t *testing.T) {
	const outOfMemory, unreachable, timedOut = 0, 113, 110
	for name, tt := range map[string]struct {
		end  end
		want tcp.Cause
	}{
		"no connection":                      {end{left: tcp.SynSent, errno: errReset}, tcp.UnknownCause},
		"no connection for the listener":     {end{left: tcp.SynReceived}, tcp.UnknownCause},
		"a listener":                         {end{left: tcp.Listen}, tcp.UnknownCause},
		"both at once":                       {end{left: tcp.Closing, finReceived: true, allAcked: true}, tcp.LocalClose},
		"both at once, and no answer":        {end{left: tcp.Closing, finReceived: true, errno: timedOut, facts: factClosed}, tcp.TimeoutCause},
		"an old error, and then in order":    {end{left: tcp.LastAck, finReceived: true, allAcked: true, errno: unreachable}, tcp.PeerClose},
		"no answer to the last FIN":          {end{left: tcp.LastAck, finReceived: true, errno: timedOut, facts: factClosed}, tcp.TimeoutCause},
		"the last FIN is answered by a RST":  {end{left: tcp.LastAck, finReceived: true, errno: errReset, facts: factClosed}, tcp.PeerReset},
		"the peer never closes":              {end{left: tcp.FinWait2, facts: factClosed}, tcp.LocalClose},
		"the peer's machine is gone":         {end{left: tcp.Established, errno: unreachable}, tcp.TimeoutCause},
		"too many without a process":         {end{left: tcp.FinWait1, errno: outOfMemory, facts: factClosed}, tcp.Aborted},
		"data after close, FIN not answered": {end{left: tcp.FinWait1, errno: errReset, facts: factClosed | factDataAfterClose}, tcp.LocalReset},
		"RST after close":                    {end{left: tcp.FinWait1, errno: errReset, facts: factClosed}, tcp.PeerReset},
		"closed with SO_LINGER 0 half-way":   {end{left: tcp.LastAck, finReceived: true}, tcp.LocalReset},
		"reset in the accept queue":          {end{left: tcp.Established, errno: errReset, facts: factNotAccepted}, tcp.PeerReset},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, tt.end.cause()) })
	}
}
