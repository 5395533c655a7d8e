// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	endian "encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience bounds each thing that a test waits for. It is meant for an emulator on a
// busy machine.
const patience = 3 * time.Minute

// emulated: a collector that scrapes each second may miss ticks.
const emulated = true

// deferAccept is done otherwise here, by accf_data(9), and nobody asks for it.
func deferAccept(int) error { return unix.ENOTSUP }

// setCongestionControl leaves the host's.
func setCongestionControl(int) error { return nil }

// Flood writes until the kernel takes no more, and returns how much it took. While
// buffers grow, and what is in them moves to the peer, it takes more by and by.
func (h *Holder) Flood(socket int, written *int) error {
	if err := unix.SetNonblock(socket, true); err != nil {
		return err
	}
	buf := make([]byte, 16384)
	for full := 0; full < 10; {
		n, err := unix.Write(socket, buf)
		switch {
		case err == unix.EAGAIN:
			full++
			time.Sleep(50 * time.Millisecond)
		case err != nil:
			return fmt.Errorf("after %d bytes: %w", *written, err)
		default:
			full = 0
			*written += n
		}
	}
	h.mu.Lock()
	h.traffic[socket].written += int64(*written)
	h.mu.Unlock()
	return unix.SetNonblock(socket, false)
}

// Report asks the kernel about one socket, as its process can.
func (h *Holder) Report(socket int, reply *Report) error {
	info, err := tcpInfo(socket)
	if err != nil {
		return err
	}
	unread, err := unix.IoctlGetInt(socket, fionREAD)
	if err != nil {
		return fmt.Errorf("FIONREAD: %w", err)
	}
	unacked, err := unix.IoctlGetInt(socket, fionWRITE)
	if err != nil {
		return fmt.Errorf("FIONWRITE: %w", err)
	}
	more := make(map[string]float64)
	for option, name := range map[int]string{unix.SO_SNDBUF: "transmit", unix.SO_RCVBUF: "receive"} {
		limit, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, option)
		if err != nil {
			return fmt.Errorf("size of the buffer: %w", err)
		}
		more["tcp.connection.buffer.limit "+name] = float64(limit)
	}
	for name, at := range map[string]int{
		"tcp.connection.mss transmit":         16,
		"tcp.connection.slow_start_threshold": 76,
		"tcp.connection.congestion_window":    80,
		"tcp.connection.window receive":       96,
		"tcp.connection.window transmit":      100,
		"tcp.connection.retransmits":          120,
		"tcp.connection.out_of_order":         124,
		"tcp.connection.zero_windows":         128,
	} {
		more[name] = float64(info.at(at))
	}
	for name, at := range map[string]int{
		"tcp.connection.rto":           8,
		"tcp.connection.rtt":           68,
		"tcp.connection.rtt.variation": 72,
	} {
		more[name] = (time.Duration(info.at(at)) * time.Microsecond).Seconds()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	*reply = Report{
		State:       info.state(),
		Written:     h.traffic[socket].written,
		Read:        h.traffic[socket].read,
		Unread:      int64(unread),
		Unacked:     int64(unacked),
		Retransmits: int64(info.at(120)),
		RTT:         time.Duration(info.at(68)) * time.Microsecond,
		More:        more,
	}
	return nil
}

// What asks for the payload in the buffers, <sys/filio.h>.
const (
	fionREAD  = 0x4004667f
	fionWRITE = 0x40046677
)

// info is struct tcp_info of <netinet/tcp.h>. Its first 132 bytes are those of 13
// and of 15, and all that is read of them but the state is of 32 bits.
type info [132]byte

func tcpInfo(socket int) (*info, error) {
	const tcpINFO = 32 // <netinet/tcp.h>
	all := make([]byte, 1024)
	n := uint32(len(all))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), unix.IPPROTO_TCP, tcpINFO,
		uintptr(unsafe.Pointer(&all[0])), uintptr(unsafe.Pointer(&n)), 0); errno != 0 {
		return nil, fmt.Errorf("TCP_INFO: %w", errno)
	}
	if int(n) < len(info{}) {
		return nil, fmt.Errorf("TCP_INFO is of %d bytes", n)
	}
	return (*info)(all), nil
}

func (i *info) at(offset int) uint32 { return endian.NativeEndian.Uint32(i[offset:]) }

// state is as in network.connection.state, by the numbers of <netinet/tcp_fsm.h>.
func (i *info) state() string {
	names := []string{
		"closed", "listen", "syn_sent", "syn_received", "established", "close_wait", "fin_wait_1",
		"closing", "last_ack", "fin_wait_2", "time_wait",
	}
	if int(i[0]) >= len(names) {
		return fmt.Sprintf("state %d", i[0])
	}
	return names[i[0]]
}
