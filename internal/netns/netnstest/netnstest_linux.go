// SPDX-License-Identifier: Apache-2.0

package netnstest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

// Place is a network namespace of a test's own.
type Place struct {
	T   testing.TB
	pid int
	*netns.Namespace
}

// New makes a namespace, which goes with the test.
func New(t testing.TB) *Place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root alone")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip of iproute2 is not installed")
	}
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Skipf("no network namespace can be made: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended already
		_ = cmd.Wait()
	})
	var st unix.Stat_t
	require.NoError(t, unix.Stat(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), &st))
	ns, err := netns.Open("/proc", int32(cmd.Process.Pid), st.Ino)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	p := &Place{T: t, pid: cmd.Process.Pid, Namespace: ns}
	p.Run("ip link set lo up")
	return p
}

// Run runs commands in the namespace, one a line.
func (p *Place) Run(commands string) {
	p.T.Helper()
	for line := range strings.Lines(commands) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var out []byte
		err := p.Do(func() (err error) {
			out, err = exec.Command(words[0], words[1:]...).CombinedOutput()
			return err
		})
		require.NoError(p.T, err, "%s: %s", line, out)
	}
}

// Connect joins two namespaces by a pair of interfaces of that name, with the
// addresses 10.n.0.1 and fd00:n::1, and 10.n.0.2 and fd00:n::2.
func Connect(a, b *Place, name string, n int) {
	a.T.Helper()
	a.Run(fmt.Sprintf("ip link add %s type veth peer name %s netns %d", name, name, b.pid))
	for i, p := range []*Place{a, b} {
		p.Run(fmt.Sprintf(`ip addr add 10.%d.0.%d/24 dev %s
			ip addr add fd00:%d::%d/64 dev %s nodad
			ip link set %s up`, n, i+1, name, n, i+1, name, name))
	}
	// Packets to an address that was not resolved yet wait, or are dropped.
	Eventually(a.T, "the other end answers", func() bool {
		err := a.Do(func() error {
			conn, err := net.DialTimeout("tcp", fmt.Sprintf("10.%d.0.2:1", n), time.Second)
			if err == nil {
				err = conn.Close()
			}
			return err
		})
		return errors.Is(err, unix.ECONNREFUSED)
	})
}

// Eventually waits for a condition, for at most 5 s.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}
