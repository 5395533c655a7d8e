// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// A program whose file is deleted keeps its name; a file that is called as if it
// were has its own.
func TestProgramsWhoseFilesAreDeleted(t *testing.T) {
	binary, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	long := strings.Repeat("x", tcp.MaxName-1)
	for name, tt := range map[string]struct {
		file string
		then func(t *testing.T, path string)
		want string
	}{
		"deleted":   {"a", func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, "a"},
		"called so": {"a (deleted)", func(*testing.T, string) {}, "a (deleted)"},
		"both":      {"a (deleted)", func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, "a (deleted)"},
		"another link": {"a", func(t *testing.T, path string) {
			require.NoError(t, os.Link(path, path+".old"))
			require.NoError(t, os.Remove(path))
		}, "a"},
		"another file is called so": {"a", func(t *testing.T, path string) {
			require.NoError(t, os.Link(path, path+".old"))
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.WriteFile(path+" (deleted)", nil, 0o755))
		}, "a"},
		"replaced": {"a", func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path+".new", nil, 0o755))
			require.NoError(t, os.Rename(path+".new", path))
		}, "a"},
		"cut inside of a character": {long + "ü", func(*testing.T, string) {}, long},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), tt.file)
			require.NoError(t, os.WriteFile(path, binary, 0o755))
			file, inode := listener(t)
			c := startChild(t, "hold", file, func(cmd *exec.Cmd) { cmd.Path = path })
			c.ready()
			require.NoError(t, file.Close())
			tt.then(t, path)
			got, _ := owner(t, open(t, Options{}), inode)
			assert.Equal(t, tt.want, got.Process.Executable)
		})
	}
}

// The sockets of a process whose first thread has ended are still its own, and it
// has the name that it had.
func TestFirstThreadHasEnded(t *testing.T) {
	file, inode := listener(t)
	c := startChild(t, "headless", file)
	c.ready()
	require.NoError(t, file.Close())
	r := open(t, Options{})
	require.Eventually(t, func() bool {
		s, err := r.host.stamp(r.host.place(c.pid()))
		return err == nil && s.headless
	}, 5*time.Second, tick)
	got, _ := owner(t, r, inode)
	assert.Equal(t, c.pid(), got.Process.PID)
	assert.Equal(t, int32(3), got.FD)
	executable, err := os.Executable()
	require.NoError(t, err)
	assert.Equal(t, tcp.FileName([]byte(filepath.Base(executable))), got.Process.Executable)
	assert.Equal(t, "/proc/self/exe", got.Process.Command)
	assert.Empty(t, staleNow(t, r))
}

// Its folder belongs to root then, but those of its threads to its user.
func TestFirstThreadHasEndedUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start children of another user")
	}
	file, inode := listener(t)
	c := startChild(t, "headless", file, asNobody)
	c.ready()
	require.NoError(t, file.Close())
	r := open(t, Options{})
	require.Eventually(t, func() bool {
		s, err := r.host.stamp(r.host.place(c.pid()))
		return err == nil && s.headless
	}, 5*time.Second, tick)
	other := startChild(t, "resolve "+strconv.FormatUint(inode, 10), nil, asNobody)
	var got childAnswer
	require.NoError(t, json.Unmarshal([]byte(other.ready()), &got))
	require.NotNil(t, got.Foreign.Process, got.ForeignReason)
	assert.Equal(t, c.pid(), got.Foreign.Process.PID)
	assert.Equal(t, got.Own.Process.Executable, got.Foreign.Process.Executable)
}
