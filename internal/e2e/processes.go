// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"cmp"
	"io"
	"net/netip"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// secret stands in the command line and the environment of every process that is
// watched. Nobody may tell it.
const secret = "hunter2-e2e-secret"

// Process is a helper process that holds sockets.
type Process struct {
	PID, UID   int
	Executable string // base name
	Path       string // argv[0]
	Started    time.Time

	client *rpc.Client
}

// startProcess starts a helper process under the given name; uid 0 is our own
// user. It ends with the test, or with this process, whichever is first.
func startProcess(t *testing.T, name string, uid int) *Process {
	t.Helper()
	binary(t) // without it there is nothing to make sockets for
	self, err := os.Executable()
	require.NoError(t, err)
	path := staged(t, self, name)
	cmd := exec.Command(path, "--password="+secret)
	cmd.Env = []string{roleVariable + "=" + roleHolder, "TOKEN=" + secret}
	cmd.SysProcAttr = as(uid)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	started := time.Now()
	require.NoError(t, cmd.Start())
	p := &Process{
		PID: cmd.Process.Pid, UID: cmp.Or(uid, os.Getuid()), Executable: name, Path: path, Started: started,
		client: jsonrpc.NewClient(pipes{out, in}),
	}
	t.Cleanup(func() {
		_ = p.client.Close() // the end of its input ends it
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ended: %v", name, err)
		}
	})
	return p
}

// as runs a child as another user, and ends it when we end.
func as(uid int) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return attr
}

type pipes struct {
	io.ReadCloser
	in io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close closes the input alone: the process then closes the rest.
func (p pipes) Close() error { return p.in.Close() }

// call has the process do something. The process bounds what it waits for, we
// bound the process.
func call[Reply any](t *testing.T, p *Process, method string, args any) (reply Reply) {
	t.Helper()
	select {
	case done := <-p.client.Go("Holder."+method, args, &reply, make(chan *rpc.Call, 1)).Done:
		require.NoError(t, done.Error, "%s: %s %+v", p.Executable, method, args)
	case <-time.After(2 * patience):
		require.Fail(t, "no answer", "%s: %s %+v", p.Executable, method, args)
	}
	return reply
}

// Held is a socket in a helper process.
type Held struct {
	*Process
	Endpoints
}

// Listen opens a listener.
func (p *Process) Listen(t *testing.T, args ListenArgs) *Held {
	t.Helper()
	return &Held{p, call[Endpoints](t, p, "Listen", args)}
}

// Connect opens a connection.
func (p *Process) Connect(t *testing.T, args ConnectArgs) *Held {
	t.Helper()
	return &Held{p, call[Endpoints](t, p, "Connect", args)}
}

// Accept takes a listener's next connection.
func (h *Held) Accept(t *testing.T) *Held {
	t.Helper()
	return &Held{h.Process, call[Endpoints](t, h.Process, "Accept", h.Socket)}
}

// Send writes n bytes.
func (h *Held) Send(t *testing.T, n int) {
	t.Helper()
	call[struct{}](t, h.Process, "Send", Amount{h.Socket, n})
}

// Receive reads n bytes, and waits for them.
func (h *Held) Receive(t *testing.T, n int) {
	t.Helper()
	call[struct{}](t, h.Process, "Receive", Amount{h.Socket, n})
}

// ReceiveEnd reads the end of the stream, and waits for it.
func (h *Held) ReceiveEnd(t *testing.T) {
	t.Helper()
	call[struct{}](t, h.Process, "ReceiveEnd", h.Socket)
}

// ShutdownWrite sends a FIN.
func (h *Held) ShutdownWrite(t *testing.T) {
	t.Helper()
	call[struct{}](t, h.Process, "ShutdownWrite", h.Socket)
}

// Close closes the socket in order.
func (h *Held) Close(t *testing.T) {
	t.Helper()
	call[struct{}](t, h.Process, "Close", CloseArgs{Socket: h.Socket})
}

// Reset closes the socket with a RST.
func (h *Held) Reset(t *testing.T) {
	t.Helper()
	call[struct{}](t, h.Process, "Close", CloseArgs{Socket: h.Socket, Reset: true})
}

// Bequeath makes another process hold the socket, too, and returns its pid.
func (h *Held) Bequeath(t *testing.T) (pid int) {
	t.Helper()
	return call[int](t, h.Process, "Bequeath", h.Socket)
}

// Report is what the process knows of the socket.
func (h *Held) Report(t *testing.T) Report {
	t.Helper()
	return call[Report](t, h.Process, "Report", h.Socket)
}

// Pair is the two ends of one connection.
type Pair struct{ Server, Client *Held }

// connect opens a connection to a listener and accepts it.
func connect(t *testing.T, client *Process, to *Held, args ConnectArgs) Pair {
	t.Helper()
	if !args.To.IsValid() {
		args.To = to.Local
	}
	c := client.Connect(t, args)
	return Pair{Server: to.Accept(t), Client: c}
}

// talk sends payload both ways; the server leaves some of it unread.
func (p Pair) talk(t *testing.T, up, down, unread int) {
	t.Helper()
	p.Client.Send(t, up)
	p.Server.Receive(t, up-unread)
	p.Server.Send(t, down)
	p.Client.Receive(t, down)
}

// wire is an address as it is in the packets.
func wire(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// parentPID is this process's id, the parent of all that it started.
func parentPID() string { return strconv.Itoa(os.Getpid()) }
