// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// self is the network namespace of the calling thread.
const self = "/proc/thread-self/ns/net"

// Namespace is a network namespace that can be entered. While it is open the
// kernel keeps it, even if all its processes have ended.
type Namespace struct {
	id uint64
	fd int
	// home is the namespace to come back to.
	home int
}

// Open opens the namespace of a process under the given procfs. It returns
// [ErrGone] if the process has ended or has moved to another namespace than id.
func Open(proc string, pid int32, id uint64) (*Namespace, error) {
	path := fmt.Sprintf("%s/%d/ns/net", proc, pid)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	n := &Namespace{id: id, fd: fd, home: -1}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("inspect %s: %w", path, err), n.Close())
	}
	if st.Ino != id {
		return nil, errors.Join(ErrGone, n.Close())
	}
	if n.home, err = unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", self, err), n.Close())
	}
	return n, nil
}

// ID returns the namespace's inode.
func (n *Namespace) ID() uint64 { return n.id }

// Do calls f in the namespace and waits for it. f runs on a thread of its own,
// so its caller is never in the namespace, nor are goroutines that f starts; what
// f opens stays there. Do returns f's error, or one that says why f was not
// called.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go offMainThread(func() {
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace %d: %w (%s)", n.id, err, remedy())
			return
		}
		err := f()
		// A thread that cannot come back stays locked, and so ends with its
		// goroutine.
		if unix.Setns(n.home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	})
	return <-done
}

// offMainThread calls f on a locked thread that is not the first of the process:
// /proc/self shows that one's namespace to the whole process. f unlocks it.
func offMainThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	// While this one is held, a new goroutine comes to another thread.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

// Close lets go of the namespace.
func (n *Namespace) Close() error {
	var errs []error
	for _, fd := range []*int{&n.fd, &n.home} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close network namespace %d: %w", n.id, err)
	}
	return nil
}

// Own returns the namespace of the calling process.
func Own() (id uint64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(self, &st); err != nil {
		return 0, fmt.Errorf("inspect %s: %w", self, err)
	}
	return st.Ino, nil
}
