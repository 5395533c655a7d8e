package netnstest

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Unprivileged calls f on a thread that has no capabilities, and waits for it.
func Unprivileged(t testing.TB, f func()) {
	t.Helper()
	refused := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		none := [2]unix.CapUserData{}
		err := unix.Capset(&header, &none[0])
		if err == nil {
			f()
		}
		refused <- err
	}()
	if err := <-refused; err != nil {
		t.Fatalf("give capabilities up: %v", err)
	}
}
