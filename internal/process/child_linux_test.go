// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childMode names what the test binary does when it runs itself.
const childMode = "TCPSTATS_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		if err := runChild(mode); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// runChild is a child's life: it says that it is ready and goes on at each line
// it is given, until its input ends. Its first extra file is descriptor 3.
func runChild(mode string) error {
	input := bufio.NewReader(os.Stdin)
	wait := func() error {
		_, err := input.ReadString('\n')
		return err
	}
	ready := func(what any) { fmt.Println("ready", what) }
	mode, arg, _ := strings.Cut(mode, " ")
	switch mode {
	case "hold":
		ready("")

	case "receive": // a descriptor over the unix socket that is descriptor 3
		buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(3, buf, oob, 0)
		if err != nil {
			return err
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			return err
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return err
		}
		ready(fds[0])

	case "exec": // keeps descriptor 3 and runs the program arg at the first line
		if err := os.Setenv(childMode, "hold"); err != nil {
			return err
		}
		ready("")
		if err := wait(); err != nil {
			return err
		}
		return unix.Exec(arg, []string{"renamed-by-exec"}, os.Environ())

	case "rename": // as prctl(PR_SET_NAME) of the first thread
		ready("")
		if err := wait(); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/self/comm", []byte("x) ( y"), 0); err != nil {
			return err
		}
		ready("")

	case "opens": // a resolver, and says what is wrong
		r, err := NewResolver(Options{})
		if err == nil {
			err = r.Close()
		}
		ready(err)

	case "headless": // ends its first thread and keeps descriptor 3
		for unix.Gettid() != unix.Getpid() {
			// While this one is held, the next goroutine comes to another thread.
			runtime.LockOSThread()
			next := make(chan error)
			go func() { next <- runChild("headless") }()
			return <-next
		}
		go func() {
			ready("")
			if err := wait(); err == io.EOF {
				os.Exit(0)
			}
		}()
		runtime.LockOSThread()
		_, _, errno := unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
		return errno

	case "sockets": // opens so many
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		for range n {
			if _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
		}
		ready("")

	case "resolve": // the owners of the inodes arg, and of a socket of its own
		r, err := NewResolver(Options{})
		if err != nil {
			return err
		}
		own, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Fstat(own, &stat); err != nil {
			return err
		}
		foreign, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return err
		}
		q, claims := ask(stat.Ino, foreign)
		stats, err := r.Resolve(bg, time.Now(), nil, claims)
		if err != nil {
			return err
		}
		again, err := r.Resolve(bg, time.Now(), nil, claims[1:])
		if err != nil {
			return err
		}
		answer, err := json.Marshal(childAnswer{stats, again, q[0].owner, q[0].reason, q[1].owner, q[1].reason})
		if err != nil {
			return err
		}
		ready(string(answer))
		return r.Close()
	}
	for {
		if err := wait(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// childAnswer is what the child "resolve" found.
type childAnswer struct {
	Stats, Again  Stats
	Own           Owner
	OwnReason     Reason
	Foreign       Owner
	ForeignReason Reason
}

// child is a running copy of this test.
type child struct {
	testing.TB
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
	ended  bool
}

// startChild runs a copy of this test that inherits file, if it is not nil, as
// descriptor 3, and waits until it is ready.
func startChild(tb testing.TB, mode string, file *os.File, options ...func(*exec.Cmd)) *child {
	tb.Helper()
	// Not by its path: a child of another user may not search that.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childMode+"="+mode)
	cmd.Stderr = os.Stderr
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	for _, option := range options {
		option(cmd)
	}
	input, err := cmd.StdinPipe()
	require.NoError(tb, err)
	output, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	c := &child{TB: tb, cmd: cmd, input: input, output: bufio.NewReader(output)}
	tb.Cleanup(c.end)
	return c
}

func (c *child) pid() int32 { return int32(c.cmd.Process.Pid) }

// ready waits until the child says so, and returns what else it says.
func (c *child) ready() string {
	c.Helper()
	line, err := c.output.ReadString('\n')
	require.NoError(c, err)
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	require.Equal(c, "ready", word, line)
	return rest
}

// next sends the child on.
func (c *child) next() {
	c.Helper()
	_, err := c.input.Write([]byte{'\n'})
	require.NoError(c, err)
}

// end ends the child and waits for it.
func (c *child) end() {
	if c.ended {
		return
	}
	c.ended = true
	_ = c.input.Close()
	_ = c.cmd.Wait()
}

// asNobody runs a child as the user who owns nothing.
func asNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
}

// listener is a TCP socket of this process as a file of its own, with its inode.
func listener(tb testing.TB) (file *os.File, inode uint64) {
	tb.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(tb, err)
	file, err = l.File()
	require.NoError(tb, err)
	require.NoError(tb, l.Close())
	tb.Cleanup(func() { _ = file.Close() })
	var stat unix.Stat_t
	require.NoError(tb, unix.Fstat(int(file.Fd()), &stat))
	return file, stat.Ino
}
