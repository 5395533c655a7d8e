//go:build linux

package hold

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// Main is a holder's main function: it opens the connections of its part of a
// plan, says so by a line, and replaces as many as each line of its input says.
func Main(text string, in io.Reader, out io.Writer) error {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("what to hold: %w", err)
	}
	if s.Namespace {
		if err := LoopbackUp(); err != nil {
			return err
		}
	}
	// An address for each holder: all ports of one are soon used up.
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 1, byte(s.Number/250), byte(1+s.Number%250))})
	if err != nil {
		return err
	}
	pairs := make([][2]*net.TCPConn, s.Connections)
	for i := range pairs {
		if pairs[i], err = connect(l, s.client(i)); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "ok")
	input := bufio.NewScanner(in)
	for next := 0; input.Scan(); {
		count, err := strconv.Atoi(input.Text())
		if err != nil {
			return err
		}
		for range count {
			i := next % len(pairs)
			next++
			if err := reset(pairs[i]); err != nil {
				return err
			}
			if pairs[i], err = connect(l, s.client(i)); err != nil {
				return err
			}
		}
		fmt.Fprintln(out, "ok")
	}
	for _, pair := range pairs {
		if err := reset(pair); err != nil {
			return err
		}
	}
	return input.Err()
}

// client is the address that a connection comes from; nil: any.
func (s *spec) client(i int) *net.TCPAddr {
	if s.Clients == 0 {
		return nil
	}
	number := (s.First + i) % s.Clients
	return &net.TCPAddr{IP: net.IPv4(127, 2, byte(number/250), byte(1+number%250))}
}

func connect(l *net.TCPListener, from *net.TCPAddr) (pair [2]*net.TCPConn, err error) {
	if pair[0], err = net.DialTCP("tcp4", from, l.Addr().(*net.TCPAddr)); err != nil {
		return pair, err
	}
	if pair[1], err = l.AcceptTCP(); err != nil {
		return pair, err
	}
	_, err = pair[0].Write([]byte("hello"))
	return pair, err
}

// reset closes a connection so that it leaves no TIME_WAIT behind.
func reset(pair [2]*net.TCPConn) error {
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

// LoopbackUp makes a new network namespace one in which connections can be made.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket for ioctl: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
