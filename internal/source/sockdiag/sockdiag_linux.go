package sockdiag

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/procfs"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	name = "sock_diag"
	rank = 20

	// bufferLen is what the kernel fills at most in one read, about 62 sockets;
	// see "cb->min_dump_alloc" and 32 KiB in net/netlink/af_netlink.c.
	bufferLen = 32 << 10

	// receiveTimeout bounds one read. A dump is made while it is read, so the
	// kernel is never slow to answer; only a lost end of the dump comes here.
	receiveTimeout = 5 // seconds

	// allStates are the states 1 to 11. Bit 3 brings the embryos (NEW_SYN_RECV)
	// too; bit 13 (bound, not connected) is left out: it walks another table and
	// costs 12 %.
	allStates  = 0xfff
	stateLimit = 12
)

// Factory makes sock_diag sources.
func Factory() source.Factory {
	return source.Factory{
		Name:         name,
		Rank:         rank,
		Capabilities: source.RTT | source.Bytes | source.Closes | source.Processes | source.Namespaces,
		Open:         func(ctx context.Context) (source.Source, error) { return Open(ctx) },
	}
}

// Source reads the sockets of one network namespace.
type Source struct {
	fd           int
	seq          uint32
	clean        bool // the last dump was read to its end
	buf          []byte
	request      []byte
	dec          decoder
	zones        *source.Zones
	capabilities source.Capabilities
	counters     *procfs.CounterReader
	quiet        quiet

	// What Narrow asks for.
	narrowed *source.Filter
	states   uint32
	bytecode []byte
}

// Open opens sock_diag and tries it with a dump of the listeners.
func Open(ctx context.Context) (*Source, error) {
	s := &Source{
		fd:       -1,
		buf:      make([]byte, bufferLen),
		states:   allStates,
		zones:    source.NewZones(),
		counters: procfs.NewCounters(procfs.DefaultDir),
		quiet:    quiet{activity: procfs.NewActivity(procfs.DefaultDir)},
	}
	s.dec.zone = s.zones.Name
	s.dec.names = make(source.Interner)
	s.dec.namespace = procfs.Namespace(procfs.DefaultDir)
	if err := s.open(); err != nil {
		return nil, err
	}
	if err := s.dump(ctx, 1<<stateListen, nil, func(*tcp.Socket) error { return nil }); err != nil && !errors.Is(err, source.ErrInterrupted) {
		var partial *source.PartialError
		if !errors.As(err, &partial) {
			return nil, errors.Join(err, s.Close())
		}
	}
	infoLen, err := infoLength()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.capabilities = source.RTT | source.Processes
	if netns.Supported() == nil {
		s.capabilities |= source.Namespaces
	}
	if closes, err := s.Closes(); err == nil {
		s.capabilities |= source.Closes
		if err := closes.Close(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if infoLen >= infoLenBytesSent {
		s.capabilities |= source.Bytes
	}
	return s, nil
}

// Name implements source.Source.
func (s *Source) Name() string { return name }

// Capabilities implements source.Source. Kernels before 4.19 do not count the
// bytes sent, kernels before 4.4 do not tell of closes.
func (s *Source) Capabilities() source.Capabilities { return s.capabilities }

// Narrow implements source.Narrower. What the kernel leaves out cannot be counted.
func (s *Source) Narrow(f *source.Filter, counted bool) error {
	if counted {
		f = nil
	}
	if f == s.narrowed {
		return nil
	}
	s.narrowed, s.states, s.bytecode = f, allStates, nil
	if f == nil {
		return nil
	}
	s.bytecode = compile(f)
	if len(f.States) > 0 {
		s.states = 0
		for number := range uint64(stateLimit) {
			if state, ok := tcp.LinuxState(number); ok && slices.Contains(f.States, state) {
				s.states |= 1 << number
			}
		}
	}
	return nil
}

// Sockets implements source.Source.
func (s *Source) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	if s.narrowed != nil {
		s.quiet.forget()
		return s.listenersFirst(ctx, s.states, s.bytecode, visit, func() bool { return false })
	}
	before, same := s.quiet.unchanged()
	var listeners, others uint64
	count := func(socket *tcp.Socket) error {
		if socket.State == tcp.Listen {
			listeners++
		} else {
			others++
		}
		return visit(socket)
	}
	if same {
		err := s.listenersFirst(ctx, allStates, nil, count, func() bool { return listeners == before.Sockets })
		s.quiet.dumped(before, err == nil && others == 0)
		return err
	}
	err := s.dump(ctx, allStates, nil, count)
	s.quiet.dumped(before, err == nil && others == 0)
	return err
}

// listenersFirst dumps the listeners, which are in a table of their own and pass
// every filter, and unless those are all the connections.
func (s *Source) listenersFirst(ctx context.Context, states uint32, bytecode []byte, visit func(*tcp.Socket) error, all func() bool) error {
	errListeners := s.dump(ctx, 1<<stateListen, nil, visit)
	if errListeners != nil && len(source.Partials(errListeners)) == 0 || all() {
		return errListeners
	}
	err := s.dump(ctx, states&^(1<<stateListen), bytecode, visit)
	if err != nil && len(source.Partials(err)) == 0 {
		return err // the worse one
	}
	return errors.Join(errListeners, err)
}

// Counters implements source.Source by way of /proc/net: netlink has none.
func (s *Source) Counters(ctx context.Context) (tcp.Counters, error) { return s.counters.Read(ctx) }

// Close implements source.Source.
func (s *Source) Close() error {
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close sock_diag: %w", err)
	}
	return nil
}

func (s *Source) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("open netlink socket for sock_diag: %w (allow AF_NETLINK, see README, Permissions)", err)
	}
	timeout := unix.Timeval{Sec: receiveTimeout}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return errors.Join(fmt.Errorf("bound reads of sock_diag: %w", err), unix.Close(fd))
	}
	s.fd, s.clean = fd, true
	return nil
}

// struct inet_diag_req of <linux/inet_diag.h>: the older request. The newer
// one (SOCK_DIAG_BY_FAMILY) dumps one address family, this one dumps both in
// one pass over the socket table, 7 to 11 % cheaper than two.
const (
	requestLen       = 60
	requestExtension = headerLen + 3
	requestStates    = headerLen + 52

	extensions = 1<<(attrInfo-1) | 1<<(attrCongestion-1) | 1<<(attrSockMemory-1)

	attrBytecode = 1 // INET_DIAG_REQ_BYTECODE

	stateListen = 10 // TCP_LISTEN of <net/tcp_states.h>
)

func (s *Source) dump(ctx context.Context, states uint32, bytecode []byte, visit func(*tcp.Socket) error) error {
	// What an unfinished dump left in the socket would be taken for this one's,
	// and the kernel answers EBUSY while one is under way.
	if !s.clean || s.fd < 0 {
		if err := s.Close(); err != nil {
			return err
		}
		if err := s.open(); err != nil {
			return err
		}
	}
	s.clean = false
	s.seq++
	s.dec.begin()
	if err := s.send(states, bytecode); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("dump of sock_diag cut short: %w", err)
		}
		n, err := receive(s.fd, s.buf)
		if err != nil {
			return fmt.Errorf("read sock_diag: %w", err)
		}
		if n > len(s.buf) {
			s.dec.losses.Truncated(fmt.Errorf("netlink datagram of %d bytes for a buffer of %d", n, len(s.buf)))
			n = len(s.buf)
		}
		done, err := s.dec.datagram(s.buf[:n], s.seq, visit)
		if done {
			s.clean = true
			return s.verdict(err)
		}
		if err != nil {
			return err
		}
	}
}

// verdict is what a dump returns that was read to its end.
func (s *Source) verdict(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("sock_diag does not know TCP: %w (modprobe tcp_diag, or build the kernel with CONFIG_INET_DIAG)", err)
	case err != nil:
		return fmt.Errorf("dump of sock_diag: %w", err)
	case s.dec.interrupted:
		return source.ErrInterrupted
	}
	return s.dec.losses.Err()
}

func (s *Source) send(states uint32, bytecode []byte) error {
	b := append(s.request[:0], make([]byte, headerLen+requestLen)...)
	if len(bytecode) > 0 {
		b = binary.NativeEndian.AppendUint16(b, uint16(attrHeaderLen+len(bytecode)))
		b = binary.NativeEndian.AppendUint16(b, attrBytecode)
		b = append(b, bytecode...)
	}
	s.request = b
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], msgTCPDiagGetSock)
	binary.NativeEndian.PutUint16(b[6:], flagRequest|flagDump)
	binary.NativeEndian.PutUint32(b[8:], s.seq)
	b[requestExtension] = extensions
	binary.NativeEndian.PutUint32(b[requestStates:], states)
	for {
		if _, err := unix.Write(s.fd, b); !errors.Is(err, unix.EINTR) {
			if err != nil {
				return fmt.Errorf("ask sock_diag for a dump: %w", err)
			}
			return nil
		}
	}
}

// receive reads one datagram and returns its whole length, which is more than
// len(b) if it did not fit. x/sys/unix has no call that does so without
// allocating an address.
func receive(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// infoLength returns the length of this kernel's tcp_info, learned from a
// socket that is never connected.
func infoLength() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return 0, fmt.Errorf("open a socket to learn the length of tcp_info: %w", err)
	}
	var info [1024]byte
	length := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0, errors.Join(fmt.Errorf("getsockopt TCP_INFO: %w", errno), unix.Close(fd))
	}
	return int(length), unix.Close(fd)
}
