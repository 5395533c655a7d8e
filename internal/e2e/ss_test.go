// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseSS(t *testing.T) {
	s, err := parseSS(`ESTAB 5007 3 [fe80::1]%lo:45755 [fe80::5]:54584 users:(("a b",pid=2779,fd=6),("c",pid=31,fd=6)) timer:(on,200ms,0) ino:127976 sk:1028 cgroup:/ <-> skmem:(r10839,rb131072,t0,tb3939840,f1449,w0,o0,bl0,d0) ts sack reno wscale:10,10 rto:204 rtt:0.015/0.008 mss:32768 cwnd:11 bytes_sent:300 segs_out:2 send 192238933333bps lastsnd:304 pacing_rate 440687409024bps delivery_rate 65536000000bps delivered:2 app_limited busy:4ms retrans:1/2 minrtt:0.004`)
	require.NoError(t, err)
	assert.Equal(t, "established", s.State)
	assert.Equal(t, 5007., s.RecvQ)
	assert.Equal(t, 3., s.SendQ)
	assert.Equal(t, []int{2779, 31}, s.PIDs)
	assert.Equal(t, Tuple{netip.MustParseAddrPort("[fe80::1%lo]:45755"), netip.MustParseAddrPort("[fe80::5%lo]:54584")}, s.Tuple)
	for key, want := range map[string]float64{
		"rtt": 0.015, "rtt/1": 0.008, "retrans/1": 2, "bytes_sent": 300, "skmem.rb": 131072, "skmem.tb": 3939840,
		"pacing_rate": 440687409024, "delivery_rate": 65536000000, "busy": 4, "minrtt": 0.004, "rto": 204,
	} {
		assert.Equal(t, want, s.Values[key], key)
	}

	s, err = parseSS(`LISTEN 1 7 *:80 *:*`)
	require.NoError(t, err)
	assert.Equal(t, Tuple{netip.MustParseAddrPort("[::]:80"), netip.MustParseAddrPort("[::]:0")}, s.Tuple)
	s, err = parseSS(`TIME-WAIT 0 0 [::ffff:127.0.0.1]:80 [::ffff:127.0.0.1]:81 timer:(timewait,59sec,0) ino:0 sk:1`)
	require.NoError(t, err)
	assert.Equal(t, Tuple{netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:81")}, s.Tuple)

	_, err = parseSS(`STATE 1 7 *:80 *:*`)
	assert.ErrorContains(t, err, "STATE")
}
