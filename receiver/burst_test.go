// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// burstEnv makes TestMain a client that opens and closes connections: an
// address, how many, and the bytes that each sends and receives.
const burstEnv = "TCPSTATS_TEST_BURST"

// burst is the client's main function.
func burst(spec string) error {
	const atOnce = 8
	var (
		address        string
		n              int
		sent, received int
	)
	if _, err := fmt.Sscan(spec, &address, &n, &sent, &received); err != nil {
		return fmt.Errorf("%s: %w", burstEnv, err)
	}
	var wg sync.WaitGroup
	errs := make(chan error, atOnce)
	for worker := range atOnce {
		wg.Go(func() {
			for i := worker; i < n; i += atOnce {
				if err := brief(address, sent, received); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// brief is one connection of known bytes, closed in order.
func brief(address string, sent, received int) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	if _, err := c.Write(make([]byte, sent)); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, c); err != nil || n != int64(received) {
		return fmt.Errorf("read %d of %d: %w", n, received, err)
	}
	return c.Close()
}

// answer serves brief connections until the listener is closed.
func answer(l net.Listener, sent int) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if _, err := io.Copy(io.Discard, c); err == nil {
				_, _ = c.Write(make([]byte, sent))
			}
		}()
	}
}
