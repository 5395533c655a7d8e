// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout is how long an answer is waited for. The kernel answers before the
// question returns.
const answerTimeout = 100 * time.Millisecond

// conntrack asks the kernel for connections, by netlink.
type conntrack struct {
	fd  int
	seq uint32
	out []byte
	in  []byte
}

// OpenTranslations opens the connection tracking of the calling thread's network
// namespace, and tries it. Afterwards any thread may use it.
func OpenTranslations() (*Translations, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open connection tracking: %w (the kernel is not built with CONFIG_NF_CT_NETLINK, or the service may not use AF_NETLINK)", err)
	}
	c := &conntrack{fd: fd, in: make([]byte, 8<<10)}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err == nil {
		// No connection has this tuple: the answer only shows that asking is permitted.
		none := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		if _, _, err = c.ask(tuple{none, none}); errors.Is(err, errUntracked) {
			err = nil
		}
	}
	switch {
	case errors.Is(err, unix.EPERM):
		err = fmt.Errorf("ask connection tracking: %w (grant CAP_NET_ADMIN; see docs/sources.md, Permissions)", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		err = fmt.Errorf("ask connection tracking: %w (load the module nf_conntrack_netlink)", err)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return newTranslations(c.ask, c.close), nil
}

// ask asks for the connection that has a tuple.
func (c *conntrack) ask(t tuple) (original, reply tuple, err error) {
	c.seq++
	c.out = request(c.out[:0], c.seq, t)
	if err := unix.Sendto(c.fd, c.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return tuple{}, tuple{}, fmt.Errorf("ask for a connection: %w", err)
	}
	for end := time.Now().Add(answerTimeout); ; {
		n, _, err := unix.Recvfrom(c.fd, c.in, 0)
		if errors.Is(err, unix.EINTR) && time.Now().Before(end) {
			continue
		}
		if err != nil {
			return tuple{}, tuple{}, fmt.Errorf("ask for a connection: %w", err)
		}
		if original, reply, ok, err := answer(c.in[:n], c.seq); ok {
			return original, reply, err
		}
	}
}

func (c *conntrack) close() error { return unix.Close(c.fd) }
