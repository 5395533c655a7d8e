// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// A test runs itself again as a child, which becomes somebody else and says what
// that one sees.
const childEnv = "TCPSTATS_TEST_CHILD"

func TestMain(m *testing.M) {
	if kind := os.Getenv(childEnv); kind != "" {
		if err := json.NewEncoder(os.Stdout).Encode(child(kind)); err != nil {
			os.Exit(1)
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent has looked
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// report is what a child sees.
type report struct {
	Err        string
	Jail       uint32 // its own
	Listener   string // its own socket
	HeaderVnet uint32
	HeaderJail uint32
	AllVnets   syscall.Errno // of asking for all vnets
	Inherited  int           // records through a descriptor of the parent's
	Records    []seen
	Trailer    Trailer
	Confined   bool
	Ends       int // of connections that it saw
}

type seen struct {
	Local           string
	UID, Jail, Vnet uint32
}

func child(kind string) (r report) {
	runtime.LockOSThread()
	if strings.Contains(kind, "-ends") {
		r, err := endsInJail(kind)
		if err != nil {
			r.Err = err.Error()
		}
		return r
	}
	if kind == "epair" {
		r, err := listenInJail()
		if err != nil {
			r.Err = err.Error()
		}
		return r
	}
	err := func() error {
		switch kind {
		case "jail", "vnet":
			jid, err := netnstest.EnterJail("tcpstats-"+kind, kind == "vnet")
			if err != nil {
				return err
			}
			r.Jail = uint32(jid)
		case "user", "outsider":
			group := 69 // network
			if kind == "outsider" {
				group = 65534
			}
			if err := syscall.Setgroups([]int{group}); err != nil {
				return err
			}
			if err := syscall.Setgid(group); err != nil {
				return err
			}
			if err := syscall.Setuid(1001); err != nil {
				return err
			}
		}
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		if err != nil {
			return err
		}
		r.Listener = fmt.Sprintf("0.0.0.0:%d", l.Addr().(*net.TCPAddr).Port)
		children = append(children, l)

		if s, err := takeWalk(os.NewFile(3, "inherited"), bufferLen); err == nil {
			r.Inherited = len(s.records)
		}
		f, err := os.Open(Device)
		if err != nil {
			return err
		}
		if err := setAllVnets(f, 1); err != nil && !errors.As(err, &r.AllVnets) {
			return err
		}
		s, err := takeWalk(f, bufferLen)
		if err != nil {
			return err
		}
		src, err := Factory().Open(context.Background())
		if err != nil {
			return err
		}
		r.Confined = src.(source.Confined).Confined()
		r.HeaderVnet, r.HeaderJail, r.Trailer = s.header.u32(atHeaderVnet), s.header.u32(atHeaderJail), s.trailer
		for _, rec := range s.records {
			r.Records = append(r.Records, seen{rec.endpoints()[0].String(), rec.u32(atUID), rec.u32(atJail), rec.u32(atVnet)})
		}
		return nil
	}()
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

// children keeps a child's listener from being collected.
var children []net.Listener

// runChild starts a child and returns its report; it lives until the test ends.
func runChild(t *testing.T, kind string) report {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+kind)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{openDevice(t)}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		require.NoError(t, cmd.Wait())
	})
	var r report
	require.NoError(t, json.NewDecoder(out).Decode(&r))
	return r
}

// A jail sees its own connections, and how many there are besides.
func TestJail(t *testing.T) {
	module(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	r := runChild(t, "jail")
	require.Empty(t, r.Err)
	require.NotZero(t, r.Jail)
	assert.Equal(t, syscall.EPERM, r.AllVnets, "a jail may not see all vnets")
	assert.Equal(t, r.Jail, r.HeaderJail)
	assert.Zero(t, r.HeaderVnet, "it has the host's")
	assert.Equal(t, []seen{{r.Listener, 0, r.Jail, 0}}, r.Records)
	assert.NotZero(t, r.Trailer.Withheld)
	assert.True(t, r.Confined, "its counters are those of the host")
	assert.Greater(t, r.Inherited, 1, "a descriptor shows what the one who opened it may see")

	mine := walkOnce(t)
	found := false
	for _, rec := range mine.records {
		found = found || rec.u32(atJail) == r.Jail
	}
	assert.True(t, found, "the host sees the jail's")
}

// A vnet is seen from within, and from the host by asking for all.
func TestVnet(t *testing.T) {
	module(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	r := runChild(t, "vnet")
	if r.Err != "" {
		t.Skipf("this kernel has no vnets: %s", r.Err)
	}
	assert.Equal(t, r.Jail, r.HeaderVnet)
	assert.Equal(t, []seen{{r.Listener, 0, r.Jail, r.Jail}}, r.Records)
	assert.Zero(t, r.Trailer.Withheld, "the host's are of another vnet")
	assert.False(t, r.Confined, "so are its counters")

	for _, rec := range walkOnce(t).records {
		assert.Zero(t, rec.u32(atVnet), "without asking only one's own")
	}
	f := openDevice(t)
	require.NoError(t, setAllVnets(f, 1))
	s, err := takeWalk(f, bufferLen)
	require.NoError(t, err)
	assert.Equal(t, uint32(1), s.header.u32(atHeaderFlags), "TCPSTATS_HF_ALLVNETS")
	vnets := map[uint32]int{}
	for _, rec := range s.records {
		vnets[rec.u32(atVnet)]++
	}
	assert.Equal(t, 1, vnets[r.Jail])
	assert.NotZero(t, vnets[0])
}

// Vnets come and go while all are walked.
func TestVnetsComeAndGo(t *testing.T) {
	module(t)
	f := openDevice(t)
	require.NoError(t, setAllVnets(f, 1))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := takeWalk(f, bufferLen); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 5 {
		t.Run("vnet", func(t *testing.T) {
			if r := runChild(t, "vnet"); r.Err != "" {
				t.Skipf("this kernel has no vnets: %s", r.Err)
			}
		})
	}
	close(stop)
	require.NoError(t, <-done)
}

// What security.bsd.see_other_uids hides from a user is hidden here, too.
func TestUser(t *testing.T) {
	module(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	r := runChild(t, "user")
	require.Empty(t, r.Err)
	assert.Equal(t, syscall.EPERM, r.AllVnets)
	assert.Greater(t, len(r.Records), 1, "users see each other's by default, as in netstat(1)")

	setSysctl(t, "security.bsd.see_other_uids", 0)
	r = runChild(t, "user")
	require.Empty(t, r.Err)
	for _, rec := range r.Records {
		assert.Equal(t, uint32(1001), rec.UID)
	}
	assert.NotEmpty(t, r.Records)
	assert.NotZero(t, r.Trailer.Withheld)
	assert.Greater(t, r.Inherited, len(r.Records), "root opened that one")
}

func TestOutsider(t *testing.T) {
	module(t)
	r := runChild(t, "outsider")
	assert.Contains(t, r.Err, "permission denied")
	for _, path := range []string{Device, deviceText} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o440), info.Mode().Perm())
		stat := info.Sys().(*syscall.Stat_t)
		assert.Equal(t, [2]uint32{0, 69}, [2]uint32{stat.Uid, stat.Gid}, "root:network")
	}
}
