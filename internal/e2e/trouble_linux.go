// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// muted: the resolver of this process answers nothing.
var muted atomic.Bool

// ScanArgs say which ports of a host to try.
type ScanArgs struct {
	Host  netip.Addr
	Ports int // from 1 on
}

// Scan tries ports that are closed, and returns how many refused.
func (h *Holder) Scan(args ScanArgs, refused *int) error {
	for port := range args.Ports {
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(args.Host, uint16(port+1)).String(), patience)
		if err == nil {
			return errors.Join(errors.New("a port is open"), conn.Close())
		}
		*refused++
	}
	return nil
}

// BeaconArgs say how to call home.
type BeaconArgs struct {
	From  netip.Addr
	To    netip.AddrPort
	Every time.Duration
	Size  int
}

// Beacon calls home at regular intervals from now on.
func (h *Holder) Beacon(args BeaconArgs, _ *struct{}) error {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(args.From, 0)), Timeout: patience}
	go func() {
		for range time.Tick(args.Every) {
			conn, err := dialer.Dial("tcp", args.To.String())
			if err != nil {
				return // its server has gone
			}
			_, _ = conn.Write(make([]byte, args.Size))
			_, _ = conn.Read(make([]byte, 1)) // until the server closes
			_ = conn.Close()
		}
	}()
	return nil
}

// Greet accepts connections from now on, reads once and closes them.
func (h *Holder) Greet(at netip.AddrPort, _ *struct{}) error {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1000))
			_ = conn.Close()
		}
	}()
	return nil
}

// Resolve answers DNS queries over UDP from now on, each with no records.
func (h *Holder) Resolve(at netip.AddrPort, _ *struct{}) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	go func() {
		for b := make([]byte, 512); ; {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n > 2 && !muted.Load() {
				b[2] |= 0x80 // it is an answer now
				_, _ = conn.WriteToUDPAddrPort(b[:n], from)
			}
		}
	}()
	return nil
}

// Mute has the resolver answer nothing, or answer again.
func (h *Holder) Mute(yes bool, _ *struct{}) error {
	muted.Store(yes)
	return nil
}

// AskArgs say what to ask a resolver.
type AskArgs struct {
	To      netip.AddrPort
	Queries int
	First   int // the id of the first query
}

// Ask sends queries from one socket, which stays open, and waits for no answers.
func (h *Holder) Ask(args AskArgs, _ *struct{}) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asking == nil {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(args.To))
		if err != nil {
			return err
		}
		h.asking = conn
	}
	for n := range args.Queries {
		if _, err := h.asking.Write(question(uint16(args.First + n))); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// question is a DNS query for the address of host.example (RFC 1035 §4.1).
func question(id uint16) []byte {
	b := []byte{byte(id >> 8), byte(id), 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0} // recursion desired, one question
	return append(b, "\x04host\x07example\x00\x00\x01\x00\x01"...)
}
