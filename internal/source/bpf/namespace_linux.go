package bpf

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is the network namespace that a source was opened in.
type namespace struct {
	inode uint64
	file  *os.File // nil: that of the whole process
}

// openNamespace returns the network namespace of the calling thread.
func openNamespace() (namespace, error) {
	file, inode, err := statNamespace("/proc/thread-self/ns/net")
	if err != nil {
		return namespace{}, err
	}
	process, home, err := statNamespace("/proc/self/ns/net")
	if err != nil {
		return namespace{}, err
	}
	if err := process.Close(); err != nil {
		return namespace{}, fmt.Errorf("close network namespace: %w", err)
	}
	if inode != home {
		return namespace{inode, file}, nil
	}
	if err := file.Close(); err != nil {
		return namespace{}, fmt.Errorf("close network namespace: %w", err)
	}
	return namespace{inode: inode}, nil
}

func statNamespace(path string) (*os.File, uint64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open network namespace: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return nil, 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return file, stat.Ino, nil
}

// run calls f on a thread that is in the namespace.
func (n namespace) run(f func()) error {
	if n.file == nil {
		f()
		return nil
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so that nothing else
		// comes to run in the wrong namespace.
		runtime.LockOSThread()
		err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("enter network namespace %d: %w", n.inode, err)
	}
	return nil
}

func (n namespace) close() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}
