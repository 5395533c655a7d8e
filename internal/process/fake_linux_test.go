// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeProc is a tree of files that looks like procfs.
type fakeProc struct {
	testing.TB
	dir string
}

// fakeBoot is the btime of a fakeProc.
var fakeBoot = time.Unix(1_000_000, 0).UTC()

func newFakeProc(tb testing.TB) fakeProc {
	f := fakeProc{tb, tb.TempDir()}
	f.write("stat", "cpu 1\nbtime 1000000\n")
	f.write("self/stat", "not a process")
	f.process(1, 1)
	f.write("2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0 0 0 0 0 0\n")
	return f
}

func (f fakeProc) write(name, data string) {
	path := filepath.Join(f.dir, name)
	require.NoError(f, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f, os.WriteFile(path, []byte(data), 0o644))
}

func (f fakeProc) link(name, target string) {
	path := filepath.Join(f.dir, name)
	_ = os.Remove(path)
	require.NoError(f, os.Symlink(target, path))
}

// listed are its processes in the order in which a walk comes to them.
func (f fakeProc) listed(t *testing.T) (pids []int32) {
	dir, err := os.Open(f.dir)
	require.NoError(t, err)
	names, err := dir.Readdirnames(-1)
	require.NoError(t, err)
	require.NoError(t, dir.Close())
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != kthreadd {
			pids = append(pids, int32(pid))
		}
	}
	return pids
}

// process adds a process that started so many ticks after boot and holds the
// sockets from descriptor 3 on.
func (f fakeProc) process(pid int32, start int, inodes ...uint64) {
	dir := strconv.Itoa(int(pid))
	f.program(pid, start, fmt.Sprintf("p%d", pid))
	f.write(dir+"/cgroup", "0::/system.slice/fake.service\n")
	f.user(pid, 4_000_000_000)
	require.NoError(f, os.MkdirAll(filepath.Join(f.dir, dir, "fd"), 0o755))
	f.link(dir+"/fd/0", "/dev/null")
	f.link(dir+"/fd/1", "pipe:[42]")
	for i, inode := range inodes {
		f.socket(pid, int32(3+i), inode)
	}
}

// program makes a process run a program, as exec does.
func (f fakeProc) program(pid int32, start int, name string) {
	dir := strconv.Itoa(int(pid))
	f.write(dir+"/stat", fmt.Sprintf("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0 0 4096 8192 %d 0\n", pid, name, start, len(name)))
	f.write(dir+"/cmdline", name+"\x00--password\x00secret\x00")
	f.link(dir+"/exe", "/usr/bin/"+name)
}

func (f fakeProc) user(pid int32, uid uint32) {
	f.write(fmt.Sprintf("%d/status", pid), fmt.Sprintf("Name:\tx\nUid:\t%d\t0\t0\t0\n", uid))
}

func (f fakeProc) socket(pid, fd int32, inode uint64) {
	f.link(fmt.Sprintf("%d/fd/%d", pid, fd), fmt.Sprintf("socket:[%d]", inode))
}

func (f fakeProc) remove(name string) {
	require.NoError(f, os.RemoveAll(filepath.Join(f.dir, name)))
}

func (f fakeProc) resolver(interval time.Duration) *Resolver {
	return open(f, Options{Proc: f.dir, RefreshInterval: interval})
}

// open makes a resolver for the life of a test.
func open(tb testing.TB, opts Options) *Resolver {
	r, err := NewResolver(opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, r.Close()) })
	return r
}

// late is a time at which every process of a fakeProc is long settled.
var late = fakeBoot.Add(24 * time.Hour)
