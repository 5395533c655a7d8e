package group

import (
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/table"
)

// Key is what the connections of one group have in common. Of the values that
// are not grouped by, and of those that are not known, it has the zero.
type Key struct {
	PID                          int32
	Executable                   string
	Owner                        string
	ContainerID                  string
	Role                         ConnectionRole
	ServerAddress, ClientAddress netip.Prefix // the peer's may be a network
	LocalAddress, PeerAddress    netip.Prefix
	ServerPort                   uint16
	LocalPort, PeerPort          uint16
	IPVersion                    uint8 // 4 or 6
	CongestionControl            string
	TCPStack                     string
	Namespace                    uint64 // inode
}

// ConnectionRole is which end of a connection this host has.
type ConnectionRole uint8

// The roles. A connection whose local port has a listener was accepted by it;
// all others were opened from here.
const (
	NoRole ConnectionRole = iota
	Client
	Server
)

// keyOf makes the key of a connection.
func (s *Set) keyOf(c *table.Connection, role ConnectionRole) Key {
	var k Key
	if p := c.Owner.Process; p != nil {
		if s.by.has(ProcessPID) {
			k.PID = p.PID
		}
		if s.by.has(ProcessExecutableName) {
			k.Executable = p.Executable
		}
		if s.by.has(ProcessOwner) {
			k.Owner = p.Owner
		}
		if s.by.has(ContainerID) {
			k.ContainerID = p.ContainerID
		}
	}
	if s.by.has(Role) {
		k.Role = role
	}
	local := netip.PrefixFrom(c.Local.Addr(), c.Local.Addr().BitLen())
	peer := s.mask(c.Peer.Addr())
	server, client, serverPort := peer, local, c.Peer.Port()
	if role == Server {
		server, client, serverPort = local, peer, c.Local.Port()
	}
	if s.by.has(ServerAddress) {
		k.ServerAddress = server
	}
	if s.by.has(ServerPort) {
		k.ServerPort = serverPort
	}
	if s.by.has(ClientAddress) {
		k.ClientAddress = client
	}
	if s.by.has(PeerAddress) {
		k.PeerAddress = peer
	}
	if s.by.has(PeerPort) {
		k.PeerPort = c.Peer.Port()
	}
	if s.by.has(LocalAddress) {
		k.LocalAddress = local
	}
	if s.by.has(LocalPort) {
		k.LocalPort = c.Local.Port()
	}
	if s.by.has(NetworkType) {
		k.IPVersion = 6
		if c.IsIPv4() {
			k.IPVersion = 4
		}
	}
	if s.by.has(CongestionControl) {
		k.CongestionControl = c.CongestionControl
	}
	if s.by.has(TCPStack) {
		k.TCPStack = c.Stack
	}
	if s.by.has(NetworkNamespace) {
		k.Namespace = c.ID.Namespace
	}
	return k
}

// mask returns the network of a peer.
func (s *Set) mask(peer netip.Addr) netip.Prefix {
	bits := s.cfg.PeerPrefixIPv6
	if peer.Is4() {
		bits = s.cfg.PeerPrefixIPv4
	}
	masked, err := peer.WithZone("").Prefix(min(bits, peer.BitLen()))
	if err != nil {
		return netip.Prefix{} // no peer at all
	}
	return masked
}
