// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// hammerTime is how long each of the tests below goes on.
func hammerTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("TCPSTATS_HAMMER")
	if text == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// workers run until a time comes or one of them fails.
type workers struct {
	t     *testing.T
	group sync.WaitGroup
	until time.Time
	fail  atomic.Bool
}

func (w *workers) start(what string, n int, work func() error) {
	for range n {
		w.group.Go(func() {
			for time.Now().Before(w.until) && !w.fail.Load() {
				if err := work(); err != nil {
					w.fail.Store(true)
					w.t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// churn opens a connection, says something through it, and ends it in one of
// the ways there are.
func churn(l net.Listener) error {
	c, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
	if err != nil {
		// Ports and queues run out under this load; that is none of the module's.
		time.Sleep(time.Millisecond)
		return nil
	}
	defer c.Close()
	_, _ = c.Write([]byte("hello"))
	if rand.IntN(2) == 0 {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset
	}
	return nil
}

func serve(t *testing.T, l net.Listener) {
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Duration(rand.IntN(300)) * time.Millisecond))
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// Readers of all kinds while connections come and go by the thousand.
func TestHammer(t *testing.T) {
	module(t)
	for range 100 { // some that stay
		pair(t, "tcp", "127.0.0.1:0", nil)
	}
	w := &workers{t: t, until: time.Now().Add(hammerTime(t))}
	var opened, walks, records, lines atomic.Int64
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		require.NoError(t, err)
		serve(t, l)
		w.start("churn "+address, 6, func() error { opened.Add(1); return churn(l) })
	}
	w.start("walk", 3, func() error {
		f, err := os.Open(Device)
		if err != nil {
			return err
		}
		defer f.Close()
		for range rand.IntN(4) {
			s, err := takeWalk(f, recordLenV1+rand.IntN(1<<17))
			if err != nil {
				return err
			}
			walks.Add(1)
			records.Add(int64(len(s.records)))
			seen := map[uint64]bool{}
			for _, r := range s.records {
				if seen[r.u64(atGencnt)] {
					return errors.New("a connection twice in one walk")
				}
				seen[r.u64(atGencnt)] = true
				if err := NewDecoder().record(r); err != nil {
					return err
				}
			}
			if s.trailer.Cut != 0 {
				return errors.New("cut off")
			}
		}
		return nil
	})
	w.start("stop in the middle", 1, func() error {
		f, err := os.Open(Device)
		if err != nil {
			return err
		}
		defer f.Close()
		for range 3 {
			if _, err := f.Read(make([]byte, headerLenV1+rand.IntN(4*recordLenV1))); err != nil {
				if errors.Is(err, unix.EINVAL) || errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
		}
		return nil
	})
	shared := openDevice(t)
	w.start("one descriptor for all", 3, func() error {
		_, err := shared.Seek(0, io.SeekStart)
		if err != nil {
			return err
		}
		// Others move the offset meanwhile: EINVAL is right then.
		if _, err := shared.Read(make([]byte, 1<<16)); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	})
	w.start("ioctl", 1, func() error {
		if err := setAllVnets(shared, rand.Int32N(2)); err != nil {
			return err
		}
		_ = request(shared, uintptr(rand.Uint32()), unsafe.Pointer(&[8192]byte{}))
		return nil
	})
	w.start("text", 1, func() error {
		b, err := os.ReadFile(deviceText)
		lines.Add(int64(strings.Count(string(b), "\n")))
		return err
	})
	w.start("sysctl", 1, func() error {
		_, err := unix.SysctlRaw("net.inet.tcp.tcpstats.held_records")
		return err
	})
	w.start("pcblist", 1, func() error {
		_, _ = unix.SysctlRaw("net.inet.tcp.pcblist") // ENOMEM where it grows
		return nil
	})
	w.group.Wait()
	require.NoError(t, shared.Close())
	t.Logf("%d connections opened, %d walks of %d records, %d lines of text", opened.Load(), walks.Load(), records.Load(), lines.Load())
	assert.Greater(t, opened.Load(), int64(100), "an emulated kernel on a busy host is slow")
	assert.Positive(t, walks.Load())
	assert.Zero(t, number(t, "held_records"), "memory is given back")
}

// The module goes while it is read, and comes back.
func TestUnloadWhileOpen(t *testing.T) {
	path := module(t)
	f := openDevice(t)
	_, err := f.Read(make([]byte, headerLenV1))
	require.NoError(t, err)
	id, err := kldfind(path)
	require.NoError(t, err)
	require.ErrorIs(t, kldunload(id, false), unix.EBUSY, "kldunload(8) leaves one alone that is open")
	_, err = takeWalk(f, bufferLen)
	require.NoError(t, err, "and it still works")

	_, err = f.Read(make([]byte, 100)) // at the end
	require.ErrorIs(t, err, io.EOF)
	_, err = unix.Pread(int(f.Fd()), make([]byte, headerLenV1), 0) // holds memory
	require.NoError(t, err)
	require.NoError(t, kldunload(id, true), "kldunload -f takes it")
	_, err = f.Seek(0, io.SeekStart)
	if err == nil {
		_, err = f.Read(make([]byte, bufferLen))
	}
	require.Error(t, err)
	t.Logf("reading a descriptor that outlived the module: %v", err)
	assert.Contains(t, advice(err).Error(), "kldload tcpstats")
	_, err = os.Open(Device)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, f.Close())

	require.NoError(t, kldload(path))
	_, err = takeWalk(openDevice(t), bufferLen)
	require.NoError(t, err)
}

func TestUnloadWhileHammered(t *testing.T) {
	path := module(t)
	w := &workers{t: t, until: time.Now().Add(hammerTime(t))}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serve(t, l)
	of := newUsers(t)
	w.start("churn", 4, func() error { return churn(l) })
	var walks, lost atomic.Int64
	for _, name := range []string{Device, deviceText} {
		w.start("read "+name, 3, func() error {
			defer of.use()()
			f, err := os.Open(name)
			if err != nil {
				lost.Add(1)
				time.Sleep(time.Millisecond)
				return nil // between unload and load
			}
			defer f.Close()
			for range rand.IntN(5) {
				if name == Device {
					_, err = takeWalk(f, recordLenV1+rand.IntN(1<<15))
				} else if _, err = f.Seek(0, io.SeekStart); err == nil {
					_, err = io.Copy(io.Discard, f)
				}
				if err != nil {
					lost.Add(1)
					return nil
				}
				walks.Add(1)
			}
			return nil
		})
	}
	unloads := 0
	for time.Now().Before(w.until) {
		id, err := kldfind(path)
		require.NoError(t, err)
		if err := of.unload(id, unloads%4 != 0); err != nil {
			require.ErrorIs(t, err, unix.EBUSY)
			require.NoError(t, of.unload(id, true))
		}
		unloads++
		require.NoError(t, kldload(path))
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	}
	w.group.Wait()
	t.Logf("unloaded %d times, %d walks, %d of them or of the opens lost", unloads, walks.Load(), lost.Load())
	assert.Positive(t, walks.Load())
	assert.Greater(t, unloads, 10)
	_, err = takeWalk(openDevice(t), bufferLen)
	require.NoError(t, err)
}

// Ends of all kinds while readers come, stop reading and die, the sysctl goes on
// and off, and the module goes and comes.
func TestHammerEnds(t *testing.T) {
	path := module(t)
	for range 50 { // some that stay
		pair(t, "tcp", "127.0.0.1:0", nil)
	}
	w := &workers{t: t, until: time.Now().Add(hammerTime(t))}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		require.NoError(t, err)
		serve(t, l)
		w.start("churn "+address, 5, func() error { return churn(l) })
	}
	var seen, lost, readers, unloads atomic.Int64
	of := newUsers(t)
	w.start("read ends", 3, func() error {
		defer of.use()()
		c, err := openCloses(deviceEnds)
		if err != nil {
			time.Sleep(time.Millisecond)
			return nil // between unload and load
		}
		readers.Add(1)
		if rand.IntN(2) == 0 {
			_ = span(c.file) // the module may be gone
		}
		for range rand.IntN(20) {
			if rand.IntN(2) == 0 {
				time.AfterFunc(time.Second, func() { _ = c.Close() }) // even if nothing comes
				if err := c.Wait(); err != nil {
					break // the module is gone
				}
			}
			missed, err := c.Drain(func(n *tcp.Notice) error {
				seen.Add(1)
				if n.State != tcp.Closed || !n.Local.IsValid() {
					return errors.New("a notice without a socket")
				}
				return nil
			})
			lost.Add(int64(missed))
			if err != nil {
				if !gone(err) && !errors.Is(err, os.ErrClosed) {
					_ = c.Close()
					return err
				}
				break
			}
		}
		_ = c.Close()
		return nil
	})
	w.start("open and never read", 1, func() error {
		defer of.use()()
		f, err := os.Open(deviceEnds)
		if err != nil {
			time.Sleep(time.Millisecond)
			return nil
		}
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		_ = f.Close() // EIO where the module is gone
		return nil
	})
	w.start("sysctl", 1, func() error {
		_ = writeSysctl("net.inet.tcp.tcpstats.ends", []byte{byte(rand.IntN(2)), 0, 0, 0})
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		return nil
	})
	w.start("walk", 1, func() error {
		defer of.use()()
		if f, err := os.Open(Device); err == nil {
			if rand.IntN(2) == 0 {
				_ = span(f)
				_, _ = (&Source{Host: anyHost{}, file: f}).Stacks(t.Context())
			}
			_, _ = takeWalk(f, bufferLen)
			_ = f.Close()
		}
		return nil
	})
	if _, err := unix.Sysctl("net.inet.tcp.functions_default"); err == nil {
		w.start("stack", 1, func() error {
			stack := []string{"freebsd\x00", "rack\x00"}[rand.IntN(2)]
			_ = writeSysctl("net.inet.tcp.functions_default", []byte(stack)) // not there everywhere
			time.Sleep(20 * time.Millisecond)
			return nil
		})
		defer func() { _ = writeSysctl("net.inet.tcp.functions_default", []byte("freebsd\x00")) }()
	}
	w.start("vnets", 1, func() error {
		r, err := spawn("vnet-ends-hammer")
		if err == nil && r.Err != "" && !strings.Contains(r.Err, "jail_set") {
			err = errors.New(r.Err)
		}
		return err
	})
	for time.Now().Before(w.until) {
		time.Sleep(time.Duration(300+rand.IntN(700)) * time.Millisecond)
		id, err := kldfind(path)
		require.NoError(t, err)
		if err := of.unload(id, true); err != nil {
			require.ErrorIs(t, err, unix.EBUSY)
			continue
		}
		unloads.Add(1)
		require.NoError(t, kldload(path))
	}
	w.group.Wait()
	t.Logf("%d readers saw %d ends and lost %d; unloaded %d times", readers.Load(), seen.Load(), lost.Load(), unloads.Load())
	assert.Positive(t, seen.Load())
	assert.Positive(t, unloads.Load())
}
