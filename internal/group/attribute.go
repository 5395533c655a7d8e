// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Attribute is something that connections can be grouped by.
type Attribute uint8

// The attributes, as in metadata.yaml.
const (
	ProcessPID Attribute = iota
	ProcessExecutableName
	ProcessOwner
	ContainerID
	Role
	ServerAddress
	ServerPort
	ClientAddress
	PeerAddress
	PeerPort
	LocalAddress
	LocalPort
	NetworkType
	CongestionControl
	TCPStack
	NetworkNamespace
	ServiceName
	PeerPID
	PeerExecutableName
	PeerContainerID
	TranslatedAddress
	TranslatedPort
	Country
	ASNumber
	ASOrganization

	numAttributes
)

// Key is what the connections of one group have in common. Of the values that
// are not grouped by, and of those that are not known, it has the zero.
type Key struct {
	PID                          int32
	Executable                   string
	Owner                        string
	ContainerID                  string
	Role                         tcp.Role
	ServerAddress, ClientAddress netip.Prefix // the peer's may be a network
	LocalAddress, PeerAddress    netip.Prefix
	ServerPort                   uint16
	LocalPort, PeerPort          uint16
	IPVersion                    uint8 // 4 or 6
	CongestionControl            string
	TCPStack                     string
	Namespace                    uint64 // inode

	// What is known of peers beside their addresses. With a ServerName there is no
	// ServerAddress.
	ServerName        string
	ServiceName       string
	PeerPID           int32
	PeerExecutable    string
	PeerContainerID   string
	TranslatedAddress netip.Prefix // may be a network
	TranslatedPort    uint16
	Country           string
	ASN               uint32
	ASOrg             string
}

// Value is an attribute's value: a text or, without one, a number. The zero Value
// is not known.
type Value struct {
	Text   string
	Number int64
}

// attributes is all there is to say of each attribute: its name in the semantic
// conventions, how a connection's key gets it, and how a key gives it.
var attributes = [numAttributes]struct {
	name  string
	take  func(k *Key, c *event.Connection, masks *masks)
	value func(k *Key) Value
}{
	ProcessPID: {"process.pid",
		func(k *Key, c *event.Connection, _ *masks) {
			if c.Process != nil {
				k.PID = c.Process.PID
			}
		},
		func(k *Key) Value { return number(k.PID) }},
	ProcessExecutableName: {"process.executable.name",
		func(k *Key, c *event.Connection, _ *masks) {
			if c.Process != nil {
				k.Executable = c.Process.Executable
			}
		},
		func(k *Key) Value { return Value{Text: k.Executable} }},
	ProcessOwner: {"process.owner",
		func(k *Key, c *event.Connection, _ *masks) {
			if c.Process != nil {
				k.Owner = c.Process.Owner
			}
		},
		func(k *Key) Value { return Value{Text: k.Owner} }},
	ContainerID: {"container.id",
		func(k *Key, c *event.Connection, _ *masks) {
			if c.Process != nil {
				k.ContainerID = c.Process.ContainerID
			}
		},
		func(k *Key) Value { return Value{Text: k.ContainerID} }},
	Role: {"tcp.role",
		func(k *Key, c *event.Connection, _ *masks) { k.Role = c.Role },
		func(k *Key) Value { return Value{Text: k.Role.String()} }},
	ServerAddress: {"server.address",
		func(k *Key, c *event.Connection, m *masks) {
			switch {
			case c.Role == tcp.Server:
				k.ServerAddress = local(c)
			case c.PeerInfo != nil && c.PeerInfo.Name != "":
				k.ServerName = c.PeerInfo.Name
			default:
				k.ServerAddress = m.peer(c)
			}
		},
		func(k *Key) Value {
			if k.ServerName != "" {
				return Value{Text: k.ServerName}
			}
			return network(k.ServerAddress)
		}},
	ServerPort: {"server.port",
		func(k *Key, c *event.Connection, _ *masks) {
			k.ServerPort = c.Peer.Port()
			if c.Role == tcp.Server {
				k.ServerPort = c.Local.Port()
			}
		},
		func(k *Key) Value { return number(k.ServerPort) }},
	ClientAddress: {"client.address",
		func(k *Key, c *event.Connection, m *masks) {
			k.ClientAddress = local(c)
			if c.Role == tcp.Server {
				k.ClientAddress = m.peer(c)
			}
		},
		func(k *Key) Value { return network(k.ClientAddress) }},
	PeerAddress: {"network.peer.address",
		func(k *Key, c *event.Connection, m *masks) { k.PeerAddress = m.peer(c) },
		func(k *Key) Value { return network(k.PeerAddress) }},
	PeerPort: {"network.peer.port",
		func(k *Key, c *event.Connection, _ *masks) { k.PeerPort = c.Peer.Port() },
		func(k *Key) Value { return number(k.PeerPort) }},
	LocalAddress: {"network.local.address",
		func(k *Key, c *event.Connection, _ *masks) { k.LocalAddress = local(c) },
		func(k *Key) Value { return network(k.LocalAddress) }},
	LocalPort: {"network.local.port",
		func(k *Key, c *event.Connection, _ *masks) { k.LocalPort = c.Local.Port() },
		func(k *Key) Value { return number(k.LocalPort) }},
	NetworkType: {"network.type",
		func(k *Key, c *event.Connection, _ *masks) {
			k.IPVersion = 6
			if c.IsIPv4() {
				k.IPVersion = 4
			}
		},
		func(k *Key) Value { return Value{Text: networkTypes[k.IPVersion]} }},
	CongestionControl: {"tcp.congestion_control",
		func(k *Key, c *event.Connection, _ *masks) { k.CongestionControl = c.CongestionControl },
		func(k *Key) Value { return Value{Text: k.CongestionControl} }},
	TCPStack: {"tcp.stack",
		func(k *Key, c *event.Connection, _ *masks) { k.TCPStack = c.Stack },
		func(k *Key) Value { return Value{Text: k.TCPStack} }},
	NetworkNamespace: {"network.namespace.id",
		func(k *Key, c *event.Connection, _ *masks) { k.Namespace = c.ID.Namespace },
		func(k *Key) Value { return number(k.Namespace) }},
	ServiceName: {"service.peer.name",
		ofPeer(func(k *Key, p *event.Peer, _ *masks) { k.ServiceName = p.Service }),
		func(k *Key) Value { return Value{Text: k.ServiceName} }},
	PeerPID: {"tcp.peer.process.pid",
		ofPeerProcess(func(k *Key, p *process.Process) { k.PeerPID = p.PID }),
		func(k *Key) Value { return number(k.PeerPID) }},
	PeerExecutableName: {"tcp.peer.process.executable.name",
		ofPeerProcess(func(k *Key, p *process.Process) { k.PeerExecutable = p.Executable }),
		func(k *Key) Value { return Value{Text: k.PeerExecutable} }},
	PeerContainerID: {"tcp.peer.container.id",
		ofPeerProcess(func(k *Key, p *process.Process) { k.PeerContainerID = p.ContainerID }),
		func(k *Key) Value { return Value{Text: k.PeerContainerID} }},
	TranslatedAddress: {"tcp.peer.translated.address",
		ofPeer(func(k *Key, p *event.Peer, m *masks) { k.TranslatedAddress = m.of(p.Translated.Addr()) }),
		func(k *Key) Value { return network(k.TranslatedAddress) }},
	TranslatedPort: {"tcp.peer.translated.port",
		ofPeer(func(k *Key, p *event.Peer, _ *masks) { k.TranslatedPort = p.Translated.Port() }),
		func(k *Key) Value { return number(k.TranslatedPort) }},
	Country: {"geo.country.iso_code",
		ofPeer(func(k *Key, p *event.Peer, _ *masks) { k.Country = p.Country }),
		func(k *Key) Value { return Value{Text: k.Country} }},
	ASNumber: {"tcp.peer.as.number",
		ofPeer(func(k *Key, p *event.Peer, _ *masks) { k.ASN = p.ASN }),
		func(k *Key) Value { return number(k.ASN) }},
	ASOrganization: {"tcp.peer.as.organization",
		ofPeer(func(k *Key, p *event.Peer, _ *masks) { k.ASOrg = p.ASOrg }),
		func(k *Key) Value { return Value{Text: k.ASOrg} }},
}

// ofPeer takes something of what is known of a connection's peer.
func ofPeer(take func(*Key, *event.Peer, *masks)) func(*Key, *event.Connection, *masks) {
	return func(k *Key, c *event.Connection, m *masks) {
		if c.PeerInfo != nil {
			take(k, c.PeerInfo, m)
		}
	}
}

// ofPeerProcess takes something of the process at the other end.
func ofPeerProcess(take func(*Key, *process.Process)) func(*Key, *event.Connection, *masks) {
	return ofPeer(func(k *Key, p *event.Peer, _ *masks) {
		if p.Process != nil {
			take(k, p.Process)
		}
	})
}

// networkTypes are the values of network.type by the version of IP.
var networkTypes = map[uint8]string{4: "ipv4", 6: "ipv6"}

// String returns the attribute's name in the semantic conventions.
func (a Attribute) String() string {
	if a < numAttributes {
		return attributes[a].name
	}
	return fmt.Sprintf("attribute(%d)", uint8(a))
}

// OfProcess reports whether the attribute is one of the connection's process.
func (a Attribute) OfProcess() bool {
	return a == ProcessPID || a == ProcessExecutableName || a == ProcessOwner || a == ContainerID
}

// OfPeerProcess reports whether the attribute is one of the process at the other
// end.
func (a Attribute) OfPeerProcess() bool {
	return a == PeerPID || a == PeerExecutableName || a == PeerContainerID
}

// OfPeer reports whether the attribute is something that is known of the other end of a
// connection beside its address.
func (a Attribute) OfPeer() bool { return a == ServerAddress || a >= ServiceName && a < numAttributes }

// Of returns the attribute's value in a key.
func (a Attribute) Of(k *Key) Value { return attributes[a].value(k) }

// ParseAttribute is the reverse of [Attribute.String].
func ParseAttribute(name string) (Attribute, error) {
	return parse(name, func(Attribute) bool { return true })
}

// ParsePeerAttribute is ParseAttribute of those that are [Attribute.OfPeer].
func ParsePeerAttribute(name string) (Attribute, error) { return parse(name, Attribute.OfPeer) }

func parse(name string, takes func(Attribute) bool) (Attribute, error) {
	var names []string
	for a := range numAttributes {
		if !takes(a) {
			continue
		}
		if attributes[a].name == name {
			return a, nil
		}
		names = append(names, attributes[a].name)
	}
	return 0, fmt.Errorf("got %q, takes one of %s", name, strings.Join(names, ", "))
}

// masks are how many bits of a peer's address count.
type masks struct{ ipv4, ipv6 int }

// peer returns the network of a connection's peer.
func (m *masks) peer(c *event.Connection) netip.Prefix { return m.of(c.Peer.Addr()) }

// of returns the network of a peer's address.
func (m *masks) of(addr netip.Addr) netip.Prefix {
	bits := m.ipv6
	if addr.Is4() {
		bits = m.ipv4
	}
	masked, err := addr.WithZone("").Prefix(min(bits, addr.BitLen()))
	if err != nil {
		return netip.Prefix{} // no peer at all
	}
	return masked
}

func local(c *event.Connection) netip.Prefix {
	return netip.PrefixFrom(c.Local.Addr(), c.Local.Addr().BitLen())
}

func number[N int32 | uint16 | uint32 | uint64](n N) Value { return Value{Number: int64(n)} }

// network writes an address, or the network that it was masked to.
func network(p netip.Prefix) Value {
	switch {
	case !p.IsValid():
		return Value{}
	case p.IsSingleIP():
		return Value{Text: p.Addr().String()}
	}
	return Value{Text: p.String()}
}
