// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// actEnv makes this program a process with connections: what it does, and with what.
const actEnv = "TCPSTATS_PAGE_ACT"

// act does what the environment says, if it says anything. It ends with its parent,
// who holds the other end of its standard input.
func act() (acted bool, err error) {
	spec := strings.Fields(os.Getenv(actEnv))
	if len(spec) == 0 {
		return false, nil
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	switch what, args := spec[0], spec[1:]; what {
	case "serve": // address, bytes that each request is answered with
		return true, serve(args[0], number(args[1]))
	case "ask": // from, to, connections, bytes of a request, milliseconds between two
		return true, ask(args[0], args[1], number(args[2]), number(args[3]), number(args[4]), false)
	case "visit": // the same, with a connection for each request
		return true, ask(args[0], args[1], number(args[2]), number(args[3]), number(args[4]), true)
	case "hold": // from, to, connections, bytes that each sends once
		return true, hold(args[0], args[1], number(args[2]), number(args[3]))
	case "neglect": // address, backlog: listens and accepts nothing
		return true, neglect(args[0], number(args[1]))
	case "dawdle": // address, backlog, bytes of an answer, milliseconds between two accepts
		return true, dawdle(args[0], number(args[1]), number(args[2]), number(args[3]))
	default:
		return true, fmt.Errorf("%s=%q: there is no such act", actEnv, spec)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// ready tells the parent that all is set up.
func ready() { fmt.Println("ready") }

func serve(address string, answer int) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return serveOn(l, answer, 0)
}

// serveOn accepts at most one connection in each pause.
func serveOn(l net.Listener, answer int, pause time.Duration) error {
	ready()
	out := make([]byte, answer)
	for ; ; time.Sleep(pause) {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			in := make([]byte, 64<<10)
			for {
				if _, err := c.Read(in); err != nil {
					return
				}
				if len(out) > 0 {
					if _, err := c.Write(out); err != nil {
						return
					}
				}
			}
		}()
	}
}

func dial(from, to string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return d.Dial("tcp", to)
}

func ask(from, to string, n, size, gap int, anew bool) error {
	for i := range n {
		go func() {
			var c net.Conn
			// Each has a pace of its own.
			pause := time.Duration(gap) * time.Millisecond * time.Duration(5+i%11) / 10
			for ; ; time.Sleep(pause) {
				var err error
				if c == nil {
					if c, err = dial(from, to); err != nil {
						c = nil
						continue
					}
				}
				if _, err = c.Write(make([]byte, size)); err == nil {
					_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
					for err == nil {
						_, err = c.Read(make([]byte, 64<<10))
					}
				}
				if anew || !errors.Is(err, os.ErrDeadlineExceeded) {
					_ = c.Close()
					c = nil
				}
			}
		}()
	}
	ready()
	select {}
}

func hold(from, to string, n, size int) error {
	for range n {
		c, err := dial(from, to)
		if err != nil {
			return err
		}
		defer c.Close()
		if size > 0 {
			if _, err := c.Write(make([]byte, size)); err != nil {
				return err
			}
		}
	}
	ready()
	select {}
}
