package socket

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Waker lets a goroutine wait for descriptors without waking up in between. The
// zero Waker holds nothing.
type Waker struct {
	event int // eventfd(2), plus one
}

// NewWaker returns a waker.
func NewWaker() (Waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return Waker{}, fmt.Errorf("open an eventfd: %w", err)
	}
	return Waker{event: fd + 1}, nil
}

// On ends every Wait from the moment that ctx is done until stop is called.
func (w *Waker) On(ctx context.Context) (stop func()) {
	fd := w.event - 1
	written := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(written)
		_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // can but be full, and wakes then as well
	})
	return func() {
		if cancel() {
			return
		}
		<-written
		_, _ = unix.Read(fd, make([]byte, 8))
	}
}

// Wait waits until a descriptor can be read or fails, or ctx is done, and returns
// what poll(2) says of the descriptor.
func (w *Waker) Wait(ctx context.Context, fd int) (events int16, err error) {
	fds := [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(w.event - 1), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		_, err := unix.Poll(fds[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("poll: %w", err)
		}
		break
	}
	return fds[0].Revents, nil
}

// Close gives the descriptor back.
func (w *Waker) Close() error {
	if w.event == 0 {
		return nil
	}
	fd := w.event - 1
	w.event = 0
	return unix.Close(fd)
}
