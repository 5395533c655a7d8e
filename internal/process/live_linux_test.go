// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// bg is for children, which have no testing.TB.
var bg = context.Background()

// owner asks for the owner of one socket of this host.
func owner(t *testing.T, r *Resolver, inode uint64, vanished ...Owner) (Owner, Stats) {
	t.Helper()
	q, claims := ask(inode)
	stats, err := r.Resolve(t.Context(), time.Now(), vanished, claims)
	require.NoError(t, err)
	require.Empty(t, q[0].reason)
	return q[0].owner, stats
}

// staleNow are the processes that are not what they were.
func staleNow(t *testing.T, r *Resolver) map[*Process]bool {
	t.Helper()
	stale, err := r.Stale(t.Context(), time.Now())
	require.NoError(t, err)
	return stale
}

func TestOwnSocket(t *testing.T) {
	file, inode := listener(t)
	got, stats := owner(t, open(t, Options{}), inode)
	assert.True(t, stats.Walked)
	assert.Positive(t, stats.Processes)
	assert.Positive(t, stats.Descriptors)
	assert.Positive(t, stats.Duration)
	assert.Equal(t, int32(file.Fd()), got.FD)

	p := got.Process
	executable, err := os.Executable()
	require.NoError(t, err)
	me, err := user.LookupId(strconv.Itoa(os.Getuid()))
	require.NoError(t, err)
	assert.Equal(t, int32(os.Getpid()), p.PID)
	assert.Equal(t, int32(os.Getppid()), p.ParentPID)
	assert.Equal(t, filepath.Base(executable), p.Executable)
	assert.Equal(t, os.Args[0], p.Command)
	assert.Equal(t, me.Username, p.Owner)
	assert.WithinDuration(t, time.Now(), p.Created, 10*time.Minute)
	assert.True(t, strings.HasPrefix(p.Cgroup, "/"), p.Cgroup)
}

func TestChildsSocket(t *testing.T) {
	file, inode := listener(t)
	c := startChild(t, "hold", file)
	c.ready()
	require.NoError(t, file.Close())
	got, _ := owner(t, open(t, Options{}), inode)
	assert.Equal(t, c.pid(), got.Process.PID)
	assert.Equal(t, int32(os.Getpid()), got.Process.ParentPID)
	assert.Equal(t, int32(3), got.FD)
	assert.Equal(t, "/proc/self/exe", got.Process.Command)
}

func TestSharedListenerBelongsToTheOldest(t *testing.T) {
	file, inode := listener(t)
	older := startChild(t, "hold", file)
	older.ready()
	time.Sleep(2 * tick)
	younger := startChild(t, "hold", file)
	younger.ready()
	r := open(t, Options{})
	got, _ := owner(t, r, inode)
	assert.Equal(t, int32(os.Getpid()), got.Process.PID)

	require.NoError(t, file.Close())
	got, _ = owner(t, r, inode)
	assert.Equal(t, older.pid(), got.Process.PID)
	assert.Empty(t, staleNow(t, r))

	// The owner ends; the socket lives on in the other.
	older.end()
	assert.Equal(t, map[*Process]bool{got.Process: true}, staleNow(t, r))
	got, stats := owner(t, r, inode, got)
	assert.True(t, stats.Walked)
	assert.Equal(t, younger.pid(), got.Process.PID)
}

func TestPassedDescriptor(t *testing.T) {
	file, inode := listener(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	c := startChild(t, "receive", theirs)
	r := open(t, Options{})
	before, _ := owner(t, r, inode)
	assert.Equal(t, int32(os.Getpid()), before.Process.PID)

	require.NoError(t, unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(file.Fd())), nil, 0))
	fd, err := strconv.Atoi(c.ready())
	require.NoError(t, err)
	require.NoError(t, file.Close())
	after, stats := owner(t, r, inode, before)
	assert.True(t, stats.Walked)
	assert.Equal(t, 1, stats.Probed)
	assert.Equal(t, c.pid(), after.Process.PID)
	assert.Equal(t, int32(fd), after.FD)
}

func TestExecIsAnotherProcess(t *testing.T) {
	// The program after exec: a copy of this one under another name.
	self, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer self.Close()
	path := filepath.Join(t.TempDir(), "other-program")
	other, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(other, self)
	require.NoError(t, err)
	require.NoError(t, other.Close())

	file, inode := listener(t)
	c := startChild(t, "exec "+path, file)
	c.ready()
	require.NoError(t, file.Close())
	r := open(t, Options{})
	before, _ := owner(t, r, inode)
	assert.Empty(t, staleNow(t, r))

	c.next()
	c.ready()
	require.NoError(t, os.Remove(path))
	assert.Equal(t, map[*Process]bool{before.Process: true}, staleNow(t, r))
	after, stats := owner(t, r, inode, before)
	assert.False(t, stats.Walked, "it is where it was")
	assert.Equal(t, 1, stats.ProbeHits)
	assert.Equal(t, before.FD, after.FD)
	assert.Equal(t, "other-program", after.Process.Executable)
	assert.Equal(t, "renamed-by-exec", after.Process.Command)
	assert.Equal(t, before.Process.PID, after.Process.PID)
	assert.Equal(t, before.Process.Created, after.Process.Created)
	assert.Empty(t, staleNow(t, r))
}

func TestRenamedThreadIsTheSameProcess(t *testing.T) {
	file, inode := listener(t)
	c := startChild(t, "rename", file)
	c.ready()
	require.NoError(t, file.Close())
	r := open(t, Options{})
	before, _ := owner(t, r, inode)
	c.next()
	c.ready()
	assert.Empty(t, staleNow(t, r))
	assert.Equal(t, comm("x) ( y"), r.known[c.pid()].stamp.comm)
	after, _ := owner(t, r, inode)
	assert.Same(t, before.Process, after.Process)
}

func TestEndedProcessIsStale(t *testing.T) {
	file, inode := listener(t)
	c := startChild(t, "hold", file)
	c.ready()
	require.NoError(t, file.Close())
	r := open(t, Options{})
	got, _ := owner(t, r, inode)

	// A zombie first: nobody has waited for it yet.
	require.NoError(t, c.input.Close())
	told := false
	for deadline := time.Now().Add(10 * time.Second); len(r.known) > 0; time.Sleep(tick) {
		require.True(t, time.Now().Before(deadline))
		told = staleNow(t, r)[got.Process] || told
	}
	assert.True(t, told)
	q, claims := ask(inode)
	_, err := r.Resolve(t.Context(), time.Now(), []Owner{got}, claims)
	require.NoError(t, err)
	assert.Nil(t, q[0].owner.Process)
	assert.Contains(t, []Reason{ReasonNoOwner, ReasonNoPermission}, q[0].reason)
}

func TestNewSocketTakesTheFreeDescriptor(t *testing.T) {
	file, inode := listener(t)
	r := open(t, Options{RefreshInterval: time.Hour})
	first, stats := owner(t, r, inode)
	assert.True(t, stats.Walked)
	require.NoError(t, file.Close())

	// The lowest free descriptor may be another: put the socket in its place.
	var next uint64
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	if fd != int(first.FD) {
		require.NoError(t, unix.Dup3(fd, int(first.FD), unix.O_CLOEXEC))
		require.NoError(t, unix.Close(fd))
	}
	defer unix.Close(int(first.FD))
	var stat unix.Stat_t
	require.NoError(t, unix.Fstat(int(first.FD), &stat))
	next = stat.Ino

	second, stats := owner(t, r, next, first)
	assert.False(t, stats.Walked)
	assert.Equal(t, 1, stats.ProbeHits)
	assert.Equal(t, first, second)
	assert.Same(t, first.Process, second.Process)
}

func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a child that may not look at this process")
	}
	_, inode := listener(t)
	c := startChild(t, "resolve "+strconv.FormatUint(inode, 10), nil, asNobody)
	var got childAnswer
	require.NoError(t, json.Unmarshal([]byte(c.ready()), &got))
	require.NotNil(t, got.Own.Process, got.OwnReason)
	assert.Equal(t, c.pid(), got.Own.Process.PID)
	assert.Equal(t, filepath.Base(os.Args[0]), got.Own.Process.Executable)
	assert.Nil(t, got.Foreign.Process)
	assert.Equal(t, ReasonNoPermission, got.ForeignReason)
	assert.Positive(t, got.Stats.Denied)
	assert.False(t, got.Again.Walked, "it was looked for once")
}

func TestHidepid(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount procfs")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("no unshare(1): ", err)
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("no setpriv(1): ", err)
	}
	// Exec of the binary's own path needs a place that anyone may search.
	dir, err := os.MkdirTemp("", "tcpstats")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	binary, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	path := filepath.Join(dir, "test")
	require.NoError(t, os.WriteFile(path, binary, 0o755))

	_, inode := listener(t)
	for hidepid, hidden := range map[string]bool{"1": false, "2": true} {
		script := `mount -t proc -o hidepid=` + hidepid + ` proc /proc && exec "$0" --reuid 65534 --regid 65534 --clear-groups "$1"`
		c := startChild(t, "resolve "+strconv.FormatUint(inode, 10), nil, func(cmd *exec.Cmd) {
			cmd.Path, cmd.Dir = unshare, "/"
			cmd.Args = []string{"unshare", "--mount", "sh", "-c", script, setpriv, path}
		})
		var got childAnswer
		require.NoError(t, json.Unmarshal([]byte(c.ready()), &got))
		c.end() // half ended, it would be one more that the next may not read
		require.NotNil(t, got.Own.Process, got.OwnReason)
		assert.Equal(t, c.pid(), got.Own.Process.PID)
		assert.Equal(t, ReasonNoPermission, got.ForeignReason)
		assert.Equal(t, hidden, got.Stats.Hidden)
		assert.Equal(t, !hidden, got.Stats.Denied > 0)
	}
}

func TestPrivatePIDs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a PID namespace")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("no unshare(1): ", err)
	}
	_, inode := listener(t)
	for name, tt := range map[string]struct {
		args    []string
		private bool
	}{
		"hostPID forgotten": {[]string{"--pid", "--fork", "--mount-proc"}, true},
		"the host's procfs": {[]string{"--pid", "--fork"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := startChild(t, "resolve "+strconv.FormatUint(inode, 10), nil, func(cmd *exec.Cmd) {
				path, err := os.Executable()
				require.NoError(t, err)
				cmd.Path, cmd.Args = unshare, append(append([]string{"unshare"}, tt.args...), path)
			})
			var got childAnswer
			require.NoError(t, json.Unmarshal([]byte(c.ready()), &got))
			require.NotNil(t, got.Own.Process, got.OwnReason)
			assert.True(t, got.Stats.Complete)
			assert.Equal(t, tt.private, got.Stats.PrivatePIDs)
			if tt.private {
				assert.Equal(t, ReasonNoPermission, got.ForeignReason, "others may have it")
				assert.Contains(t, got.Stats.Why(), "hostPID: true")
			} else {
				require.NotNil(t, got.Foreign.Process)
				assert.Equal(t, int32(os.Getpid()), got.Foreign.Process.PID)
				assert.NotContains(t, got.Stats.Why(), "hostPID")
			}
		})
	}
}

func TestProcWithoutHost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount procfs")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("no unshare(1): ", err)
	}
	c := startChild(t, "opens", nil, func(cmd *exec.Cmd) {
		path, err := os.Executable()
		require.NoError(t, err)
		cmd.Path = unshare
		cmd.Args = []string{"unshare", "--mount", "sh", "-c", `mount -t proc -o subset=pid proc /proc && exec "$0"`, path}
	})
	assert.Contains(t, c.ready(), "mounted without subset=pid")
}

// openDescriptors counts this process's.
func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestDescriptorsDoNotLeak(t *testing.T) {
	_, inode := listener(t)
	c := startChild(t, "hold", nil)
	c.ready()
	before := openDescriptors(t)
	r, err := NewResolver(Options{})
	require.NoError(t, err)
	for range 3 {
		got, _ := owner(t, r, inode)
		q, claims := ask(1) // no socket's: the whole walk
		_, err := r.Resolve(t.Context(), time.Now(), []Owner{got, {Process: &Process{PID: c.pid()}, FD: 1}}, claims)
		require.NoError(t, err)
		require.Nil(t, q[0].owner.Process)
		staleNow(t, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, claims := ask(inode)
	_, err = r.Resolve(ctx, time.Now(), nil, claims)
	require.Error(t, err)
	assert.Equal(t, before+1+spares, openDescriptors(t))
	require.NoError(t, r.Close())
	assert.Equal(t, before, openDescriptors(t))
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var claims []Claim
	var q []*question
	var inodes []uint64
	for range 100 {
		_, inode := listener(t)
		inodes = append(inodes, inode)
	}
	q, claims = ask(inodes...)
	r := open(t, Options{})
	now := time.Now()
	resolve := func(vanished []Owner) (stats Stats) {
		stats, err := r.Resolve(bg, now, vanished, claims)
		if err != nil {
			t.Error(err)
		}
		return stats
	}
	resolve(nil)

	var stats Stats
	lost := question{inode: 1}
	claims = append(claims, lost.claim())
	assert.Zero(t, testing.AllocsPerRun(5, func() {
		lost.owner = Owner{}
		stats = resolve(nil)
	}), "whole walk")
	assert.True(t, stats.Walked)
	assert.Greater(t, stats.Descriptors, 100)

	claims = claims[:100]
	vanished := make([]Owner, 100)
	for i, q := range q {
		vanished[i] = q.owner
	}
	assert.Zero(t, testing.AllocsPerRun(20, func() { stats = resolve(vanished) }), "probe")
	assert.False(t, stats.Walked)
	assert.Equal(t, 100, stats.ProbeHits)

	assert.Zero(t, testing.AllocsPerRun(5, func() {
		if stale, err := r.Stale(bg, now); err != nil || len(stale) != 0 {
			t.Error(stale, err)
		}
	}), "check of the known processes")
}
