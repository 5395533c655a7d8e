// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// This process scans ports of the loopback and lets an accept queue fill, of a new
// listener: each is found once, with this process behind it. The notices of sock_diag do
// not say whose an attempt was that failed at once.
func TestLiveFindings(t *testing.T) {
	for _, factory := range []source.Factory{bpf.Factory(), sockdiag.Factory()} {
		t.Run(factory.Name, func(t *testing.T) {
			src, err := factory.Open(t.Context())
			if err != nil {
				t.Skip(err)
			}
			notices := src.Capabilities().Missing(source.Closes) == 0
			require.NoError(t, src.Close())
			if !notices || os.Geteuid() != 0 {
				t.Skip("attempts that fail are seen with notices only, which take root")
			}
			cfg := createDefaultConfig()
			cfg.Process.RefreshInterval = 0
			cfg.Detect.Enabled = []string{detect.Scan, detect.Saturation, detect.Listener}
			cfg.Detect.Listener.Learn = 0
			r := newRig(t, cfg, &refusing{}, opened(factory))
			r.open(t)
			s := r.observer
			require.NoError(t, s.scrape())

			quiet, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			defer unix.Close(quiet)
			// An address of its own: others who run these tests listen on 127.0.0.1, under
			// the same name.
			own := [4]byte{127, 83, byte(os.Getpid() >> 8), byte(os.Getpid())}
			require.NoError(t, unix.Bind(quiet, &unix.SockaddrInet4{Addr: own}))
			require.NoError(t, unix.Listen(quiet, 1))
			name, err := unix.Getsockname(quiet)
			require.NoError(t, err)
			for range 2 { // all that wait in a queue of 1
				c, err := net.Dial("tcp4", netip.AddrPortFrom(netip.AddrFrom4(own), uint16(name.(*unix.SockaddrInet4).Port)).String())
				require.NoError(t, err)
				defer c.Close()
			}
			refused := 0
			for port := 1; refused < 20; port++ {
				c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					refused++
					continue
				}
				require.NoError(t, c.Close())
			}
			executable, err := os.Executable()
			require.NoError(t, err)
			who := fmt.Sprintf("%s (%d)", filepath.Base(executable), os.Getpid())
			scanner := who
			if factory.Name == sockdiag.Factory().Name {
				scanner = "127.0.0.1"
			}
			rules := make(map[string]int)
			assert.Eventually(t, func() bool {
				require.NoError(t, s.scrape())
				for _, e := range r.logs.TakeAll() {
					// Other tests and programs run beside this one.
					if rule, ok := e.ContextMap()["security_rule.name"]; ok && (strings.Contains(e.Message, who) || strings.HasPrefix(e.Message, scanner+" tried")) {
						rules[rule.(string)]++
					}
				}
				return len(rules) >= 3
				// A walk over the processes of a busy host may take some scrapes.
			}, 25*time.Second, 200*time.Millisecond, "found: %v", rules)
			for range 3 { // and quiet afterwards
				require.NoError(t, s.scrape())
			}
			assert.Equal(t, map[string]int{"scan.outbound": 1, "saturation.accept_queue": 1, "listener": 1}, rules)
		})
	}
}

// opened is a real source for a rig.
type opened source.Factory

func (o opened) factory() source.Factory { return source.Factory(o) }
