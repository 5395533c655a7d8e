// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A load makes connections on loopback: so many that come and go each second, so many
// that stay.
type load struct {
	listener net.Listener
	rate     int
	held     []net.Conn
	count    atomic.Int64 // connections that were made, and are closed at the end
	paused   sync.Mutex   // held while nothing may come or go
	done     chan struct{}
	running  sync.WaitGroup
}

func newLoad(rate, held int) (*load, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &load{listener: listener, rate: rate, done: make(chan struct{})}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				// The client closes first.
				buffer := make([]byte, 256)
				for {
					n, err := connection.Read(buffer)
					if err != nil {
						connection.Close()
						return
					}
					if _, err := connection.Write(buffer[:n]); err != nil {
						connection.Close()
						return
					}
				}
			}()
		}
	}()
	for range held {
		connection, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("hold %d connections: %w", held, err)
		}
		l.held = append(l.held, connection)
	}
	return l, nil
}

func (l *load) port() int { return l.listener.Addr().(*net.TCPAddr).Port }

// made is how many connections came and went.
func (l *load) made() int64 { return l.count.Load() }

// run makes connections until stop.
func (l *load) run() {
	l.running.Add(1)
	go func() {
		defer l.running.Done()
		const step = 20 * time.Millisecond
		ticker := time.NewTicker(step)
		defer ticker.Stop()
		for {
			select {
			case <-l.done:
				return
			case <-ticker.C:
			}
			l.paused.Lock()
			for range max(1, l.rate*int(step)/int(time.Second)) {
				l.one()
			}
			l.paused.Unlock()
		}
	}()
}

// one makes a connection, sends a few bytes both ways, and closes it.
func (l *load) one() {
	connection, err := net.Dial("tcp", l.listener.Addr().String())
	if err != nil {
		return // out of ports for a moment: not made, not counted
	}
	l.count.Add(1)
	message := []byte("the quick brown fox jumps over the lazy dog")
	if _, err := connection.Write(message); err == nil {
		connection.Read(message)
	}
	connection.Close()
}

// pause keeps connections from coming and going until it is called back.
func (l *load) pause() (resume func()) {
	l.paused.Lock()
	time.Sleep(time.Second) // until the peers have closed, too
	return l.paused.Unlock
}

func (l *load) stop() {
	close(l.done)
	l.running.Wait()
}

// namespace runs a child in a network namespace of its own, with connections in it. It
// returns how to end it.
func namespace() (end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.Command(self, "namespace")
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("make a network namespace (it takes root): %w", err)
	}
	return func() {
		child.Process.Kill()
		child.Wait()
	}, nil
}

// inNamespace is what the child does: connections that come and go, until it is killed.
func inNamespace() error {
	// Loopback is down in a new namespace.
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	unix.Close(socket)
	l, err := newLoad(50, 50)
	if err != nil {
		return err
	}
	l.run()
	select {}
}
