// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sysctl"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The test binary runs itself as the processes that it looks at and looks as:
// what it is to do, as an order.
const orderVariable = "TCPSTATS_TEST_ORDER"

// order is what a child does: enter or make a jail, hold sockets or look.
type order struct {
	Jail int    // to enter; 0: none
	Make string // name of a jail to make and enter
	VNet bool   // it has its own network
	Hold bool   // a listener, and both ends of a connection
	Look bool   // at all there is to see, each time that a line comes in
}

// held is what a holder says.
type held struct {
	PID, Jail int
	Sockets   [][2]netip.AddrPort
}

// seen is what a looker says of one socket.
type seen struct {
	Ends       [2]netip.AddrPort
	State      string
	PID, FD    int32
	Executable string
	Command    string
	Owner      string
	Parent     int32
	Jail       int32
	Reason     string
	Confined   bool // the source says that there may be sockets that it is not shown
}

func TestMain(m *testing.M) {
	text := os.Getenv(orderVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.obey()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (o order) obey() error {
	jail := 0
	if o.Make != "" {
		var err error
		if jail, err = makeJail(o.Make, o.VNet); err != nil {
			return err
		}
	}
	if o.Jail != 0 {
		if _, _, errno := unix.Syscall(unix.SYS_JAIL_ATTACH, uintptr(o.Jail), 0, 0); errno != 0 {
			return fmt.Errorf("enter jail %d: %w", o.Jail, errno)
		}
	}
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewReader(os.Stdin)
	if o.Hold {
		sockets, drop, err := hold()
		if err != nil {
			return err
		}
		defer drop()
		if err := answers.Encode(held{PID: os.Getpid(), Jail: jail, Sockets: sockets}); err != nil {
			return err
		}
	}
	for {
		if _, err := lines.ReadString('\n'); err != nil {
			return nil // its parent is done with it
		}
		if o.Look {
			all, err := lookAround()
			if err != nil {
				return err
			}
			if err := answers.Encode(all); err != nil {
				return err
			}
		}
	}
}

// hold makes a listener and a connection to it on loopback.
func hold() (sockets [][2]netip.AddrPort, drop func(), err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	a, err := l.Accept()
	if err != nil {
		return nil, nil, err
	}
	at := func(addr net.Addr) netip.AddrPort { return addr.(*net.TCPAddr).AddrPort() }
	return [][2]netip.AddrPort{
		bsdEnds(at(l.Addr()), netip.AddrPort{}),
		bsdEnds(at(c.LocalAddr()), at(c.RemoteAddr())),
		bsdEnds(at(a.LocalAddr()), at(a.RemoteAddr())),
	}, func() { l.Close(); c.Close(); a.Close() }, nil
}

// lookAround lists all sockets with their owners.
func lookAround() ([]seen, error) {
	src, err := sysctl.Open(context.Background())
	if err != nil {
		return nil, err
	}
	defer src.Close()
	var sockets []tcp.Socket
	if err := src.Sockets(context.Background(), func(s *tcp.Socket) error {
		sockets = append(sockets, *s)
		return nil
	}); !source.Whole(err) {
		return nil, err
	}
	r, err := NewResolver(Options{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	claims := make([]Claim, len(sockets))
	for i, s := range sockets {
		claims[i] = Claim{Inode: s.Inode, Owner: new(Owner), Reason: new(Reason)}
	}
	if _, err := r.Resolve(context.Background(), time.Now(), nil, claims); err != nil {
		return nil, err
	}
	all := make([]seen, len(sockets))
	for i, s := range sockets {
		all[i] = seen{Ends: [2]netip.AddrPort{s.Local, s.Peer}, State: s.State.String(), FD: claims[i].Owner.FD, Reason: claims[i].Reason.String(), Confined: src.Confined()}
		if p := claims[i].Owner.Process; p != nil {
			all[i].PID, all[i].Parent, all[i].Jail = p.PID, p.ParentPID, p.JailID
			all[i].Executable, all[i].Command, all[i].Owner = p.Executable, p.Command, p.Owner
		}
	}
	return all, nil
}

// makeJail makes a jail that has all files, and the host's network or one of its
// own, and enters it. It ends with its last process.
func makeJail(name string, vnet bool) (int, error) {
	const (
		create, attach   = 1, 4
		sysNew, sysShare = 1, 2 // JAIL_SYS_NEW, JAIL_SYS_INHERIT
	)
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	message := make([]byte, 256)
	parameters := [][]byte{[]byte("path\x00"), []byte("/\x00"), []byte("name\x00"), []byte(name + "\x00"), []byte("errmsg\x00"), message}
	if vnet {
		parameters = append(parameters, []byte("vnet\x00"), number(sysNew))
	} else {
		parameters = append(parameters, []byte("ip4\x00"), number(sysShare), []byte("ip6\x00"), number(sysShare))
	}
	vector := make([]unix.Iovec, len(parameters))
	for i, p := range parameters {
		vector[i].Base = &p[0]
		vector[i].SetLen(len(p))
	}
	id, _, errno := unix.Syscall(unix.SYS_JAIL_SET, uintptr(unsafe.Pointer(&vector[0])), uintptr(len(vector)), create|attach)
	runtime.KeepAlive(parameters)
	if errno != 0 {
		return 0, fmt.Errorf("jail_set %s: %w (%s)", name, errno, message)
	}
	if vnet {
		return int(id), loopbackUp()
	}
	return int(id), nil
}

// loopbackUp gives lo0 of a new vnet its address.
func loopbackUp() error {
	const (
		siocaifaddr = 0x8044692b
		aliasLen    = 68 // struct ifaliasreq: name, address, destination, netmask, vhid
	)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	var request [aliasLen]byte
	copy(request[:], "lo0")
	for at, ip := range map[int][4]byte{16: {127, 0, 0, 1}, 48: {255, 0, 0, 0}} {
		request[at], request[at+1] = unix.SizeofSockaddrInet4, unix.AF_INET
		copy(request[at+4:], ip[:])
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), siocaifaddr, uintptr(unsafe.Pointer(&request[0]))); errno != 0 {
		return fmt.Errorf("SIOCAIFADDR lo0: %w", errno)
	}
	return nil
}

// child is a running child.
type child struct {
	*testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *json.Decoder
}

// run starts a child as a user, with the program under another name if one is
// given.
func run(t *testing.T, o order, uid uint32, program string) *child {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	if program != "" {
		// t.TempDir is ours alone.
		dir, err := os.MkdirTemp("", "tcpstats")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		require.NoError(t, os.Chmod(dir, 0o755))
		copied := dir + "/" + program
		b, err := os.ReadFile(exe)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(copied, b, 0o755))
		exe = copied
	}
	cmd := exec.Command(exe)
	cmd.Args = []string{"what-it-calls-itself", "--secret"}
	cmd.Env = []string{orderVariable + "=" + string(text)}
	cmd.Stderr = os.Stderr
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	c := &child{T: t, cmd: cmd}
	c.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	c.out = json.NewDecoder(stdout)
	require.NoError(t, cmd.Start())
	t.Cleanup(c.end)
	return c
}

// answer reads what the child says.
func (c *child) answer(to any) {
	c.Helper()
	require.NoError(c, c.out.Decode(to))
}

// look has the child look around.
func (c *child) look() map[[2]netip.AddrPort]seen {
	c.Helper()
	_, err := io.WriteString(c.stdin, "look\n")
	require.NoError(c, err)
	var all []seen
	c.answer(&all)
	sockets := make(map[[2]netip.AddrPort]seen)
	for _, s := range all {
		sockets[s.Ends] = s
	}
	return sockets
}

// end ends the child.
func (c *child) end() {
	if c.cmd == nil {
		return
	}
	_ = c.stdin.Close()
	if err := c.cmd.Wait(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.Error(err)
	}
	c.cmd = nil
}
