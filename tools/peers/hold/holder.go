// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hold

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Main is a holder's main function: it opens the connections of its part of a
// plan, says so by a line, and does with as many of them what each line of its input
// says.
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
	l, err := s.listen()
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
	// Those that send are not those that are replaced next.
	for replaced, sent := 0, len(pairs)/2; input.Scan(); {
		order, number, _ := strings.Cut(input.Text(), " ")
		count, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		for range count {
			switch order {
			case orderReplace:
				i := replaced % len(pairs)
				replaced++
				if err := reset(pairs[i]); err != nil {
					return err
				}
				if pairs[i], err = connect(l, s.client(i)); err != nil {
					return err
				}
			case orderSend:
				pair := pairs[sent%len(pairs)]
				sent++
				if err := send(pair); err != nil {
					return err
				}
			default:
				return fmt.Errorf("got order %q, takes %s, %s", order, orderReplace, orderSend)
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

// listen opens the holder's listener.
func (s *spec) listen() (net.Listener, error) {
	// An address for each holder: all ports of one are soon used up.
	address := net.IPv4(127, 1, byte(s.Number/250), byte(1+s.Number%250))
	without := net.ListenConfig{KeepAlive: -1}
	return without.Listen(context.Background(), "tcp4", net.JoinHostPort(address.String(), "0"))
}

// client is the address that a connection comes from; nil: any.
func (s *spec) client(i int) *net.TCPAddr {
	if s.Clients == 0 {
		return nil
	}
	number := (s.First + i) % s.Clients
	return &net.TCPAddr{IP: net.IPv4(127, 2, byte(number/250), byte(1+number%250))}
}

// connect makes a connection without keepalives: those of a hundred thousand
// fall due together, overrun the kernel's queue of packets (netdev_max_backlog),
// and connections that miss theirs again and again are reset.
func connect(l net.Listener, from *net.TCPAddr) (pair [2]*net.TCPConn, err error) {
	without := net.Dialer{KeepAlive: -1}
	if from != nil {
		without.LocalAddr = from
	}
	dialed, err := without.Dial("tcp4", l.Addr().String())
	if err != nil {
		return pair, err
	}
	accepted, err := l.Accept()
	if err != nil {
		return pair, err
	}
	pair = [2]*net.TCPConn{dialed.(*net.TCPConn), accepted.(*net.TCPConn)}
	return pair, send(pair)
}

// send sends something from one end to the other.
func send(pair [2]*net.TCPConn) error {
	message := []byte("hello")
	if _, err := pair[0].Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(pair[1], message)
	return err
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
