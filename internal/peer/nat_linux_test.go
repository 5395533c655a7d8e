// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// dial opens a connection from a namespace, which ends with the test.
func dial(p *netnstest.Place, to string) (local, peer netip.AddrPort) {
	p.T.Helper()
	var conn net.Conn
	require.NoError(p.T, p.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", to, 5*time.Second)
		return err
	}))
	p.T.Cleanup(func() { assert.NoError(p.T, conn.Close()) })
	return conn.LocalAddr().(*net.TCPAddr).AddrPort(), netip.MustParseAddrPort(to)
}

// Destinations that nftables translates have the right address behind them.
func TestNAT(t *testing.T) {
	host, other := netnstest.New(t), netnstest.New(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft of nftables is not installed")
	}
	netnstest.Connect(host, other, "first", 75)
	require.NoError(t, other.Do(func() error {
		listener, err := net.Listen("tcp", ":8443")
		if err == nil {
			t.Cleanup(func() { assert.NoError(t, listener.Close()) })
		}
		return err
	}))
	host.Run(`ip route add 10.99.0.0/16 dev first
		ip -6 route add fd00:99::/32 dev first
		nft add table inet test
		nft add chain inet test output { type nat hook output priority -100 ; }
		nft add rule inet test output ip daddr 10.99.0.1 tcp dport 443 dnat ip to 10.75.0.2:8443
		nft add rule inet test output ip6 daddr fd00:99::1 tcp dport 443 dnat ip6 to [fd00:75::2]:8443`)

	var translations *Translations
	err := host.Do(func() (err error) {
		translations, err = OpenTranslations()
		return err
	})
	if err != nil {
		t.Skip(err)
	}
	defer func() { assert.NoError(t, translations.Close()) }()
	for range 2 {
		for to, want := range map[string]string{"10.99.0.1:443": "10.75.0.2:8443", "[fd00:99::1]:443": "[fd00:75::2]:8443"} {
			local, peer := dial(host, to)
			assert.Equal(t, netip.MustParseAddrPort(want), translations.Lookup(local, peer, time.Now()))
		}
	}
	assert.Equal(t, TranslationCounts{Requests: 4, Translated: 4}, translations.Counts())
	for range 3 {
		local, peer := dial(host, "10.75.0.2:8443")
		assert.False(t, translations.Lookup(local, peer, time.Now()).IsValid())
	}
	assert.Equal(t, TranslationCounts{Requests: 5, Translated: 4}, translations.Counts())
}

// One privilege is enough, and without it the error says what to grant.
func TestNATPrivileges(t *testing.T) {
	host := netnstest.New(t)
	require.NoError(t, host.Do(func() error {
		netnstest.WithOnly(t, nil, func() {
			_, err := OpenTranslations()
			assert.ErrorIs(t, err, unix.EPERM)
			assert.ErrorContains(t, err, "grant CAP_NET_ADMIN")
		})
		netnstest.WithOnly(t, []int{unix.CAP_NET_ADMIN}, func() {
			translations, err := OpenTranslations()
			if assert.NoError(t, err) {
				assert.NoError(t, translations.Close())
			}
		})
		return nil
	}))
}

// What a request costs.
func BenchmarkTranslations(b *testing.B) {
	translations, err := OpenTranslations()
	if err != nil {
		b.Skip(err)
	}
	defer func() { assert.NoError(b, translations.Close()) }()
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = translations.ask(ends("10.0.0.1:40000", "10.0.0.2:443"))
	}
}
