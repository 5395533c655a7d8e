// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// A holder is this test binary, run again to hold connections: a process may
// have only so many descriptors, and its CPU time must not count as ours.

// holderEnv makes TestMain a holder of so many connections.
const holderEnv = "TCPSTATS_TEST_HOLD_CONNECTIONS"

// maxHeld is how many connections one holder has, two descriptors each: within
// the hard limit of most hosts.
const maxHeld = 8_000

// holders hold connections on loopback with both ends in the same process.
type holders struct {
	processes []*holder
}

type holder struct {
	stdin  io.Writer
	stdout *bufio.Reader
}

// holdConnections opens n connections and closes them with the test.
func holdConnections(tb testing.TB, n int) *holders {
	self, err := os.Executable()
	require.NoError(tb, err)
	all := &holders{}
	for number := 0; n > 0; number++ {
		share := min(n, maxHeld)
		n -= share
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", holderEnv, number, share))
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		require.NoError(tb, err)
		stdout, err := cmd.StdoutPipe()
		require.NoError(tb, err)
		require.NoError(tb, cmd.Start())
		tb.Cleanup(func() {
			require.NoError(tb, stdin.Close()) // a holder ends with its input
			require.NoError(tb, cmd.Wait())
		})
		h := &holder{stdin: stdin, stdout: bufio.NewReader(stdout)}
		h.wait(tb)
		all.processes = append(all.processes, h)
	}
	return all
}

// replace closes n connections and opens as many, in one process after
// another.
func (h *holders) replace(tb testing.TB, n int) {
	share := max(1, n/len(h.processes))
	for _, p := range h.processes {
		_, err := fmt.Fprintln(p.stdin, share)
		require.NoError(tb, err)
		p.wait(tb)
	}
}

func (h *holder) wait(tb testing.TB) {
	line, err := h.stdout.ReadString('\n')
	require.NoError(tb, err)
	require.Equal(tb, "ok\n", line)
}

// hold is the holder's main function.
func hold(spec string) error {
	var number, n int
	if _, err := fmt.Sscan(spec, &number, &n); err != nil {
		return fmt.Errorf("%s: %w", holderEnv, err)
	}
	// An address for each holder: all ports of one are soon used up.
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(number+1))})
	if err != nil {
		return err
	}
	pairs := make([][2]*net.TCPConn, n)
	for i := range pairs {
		if pairs[i], err = connectPair(l); err != nil {
			return err
		}
	}
	fmt.Println("ok")
	input := bufio.NewScanner(os.Stdin)
	for next := 0; input.Scan(); {
		count, err := strconv.Atoi(input.Text())
		if err != nil {
			return err
		}
		for range count {
			i := next % n
			next++
			if err := closePair(pairs[i]); err != nil {
				return err
			}
			if pairs[i], err = connectPair(l); err != nil {
				return err
			}
		}
		fmt.Println("ok")
	}
	for _, pair := range pairs {
		if err := closePair(pair); err != nil {
			return err
		}
	}
	return input.Err()
}

func connectPair(l *net.TCPListener) (pair [2]*net.TCPConn, err error) {
	if pair[0], err = net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr)); err != nil {
		return pair, err
	}
	if pair[1], err = l.AcceptTCP(); err != nil {
		return pair, err
	}
	_, err = pair[0].Write([]byte("hello"))
	return pair, err
}

// closePair resets a connection, so that it leaves no TIME_WAIT behind.
func closePair(pair [2]*net.TCPConn) error {
	for _, c := range pair {
		if err := c.SetLinger(0); err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}
