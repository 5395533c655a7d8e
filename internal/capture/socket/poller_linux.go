// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Poller lets a goroutine wait for a descriptor without keeping a thread: there may
// be hundreds of namespaces.
type Poller struct {
	file *os.File
	conn syscall.RawConn
}

// NewPoller returns a poller of a descriptor that does not block, and closes it in
// the end.
func NewPoller(fd int, name string) (Poller, error) {
	file := os.NewFile(uintptr(fd), name)
	conn, err := file.SyscallConn()
	if err == nil {
		err = file.SetReadDeadline(time.Time{}) // fails if it cannot be waited for
	}
	if err != nil {
		return Poller{}, errors.Join(fmt.Errorf("wait for a %s: %w", name, err), file.Close())
	}
	return Poller{file, conn}, nil
}

// Until ends every Wait from the moment that ctx is done until stop is called.
func (p *Poller) Until(ctx context.Context) (stop func()) {
	past := time.Unix(1, 0)
	ended := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = p.file.SetReadDeadline(past) // the descriptor can: it was tried
	})
	return func() {
		if cancel() {
			return
		}
		<-ended
		_ = p.file.SetReadDeadline(time.Time{})
	}
}

// Wait calls ready, again whenever something has happened to the descriptor, until
// it returns true. done reports that the waiting was ended before that.
func (p *Poller) Wait(ready func() bool) (done bool, err error) {
	err = p.conn.Read(func(uintptr) bool { return ready() })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true, nil
	}
	return false, err
}

// Close closes the descriptor.
func (p *Poller) Close() error { return p.file.Close() }
