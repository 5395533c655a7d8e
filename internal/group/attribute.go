package group

import (
	"fmt"
	"slices"
	"strings"
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

	numAttributes
)

var attributeNames = [numAttributes]string{
	"process.pid", "process.executable.name", "process.owner", "container.id", "tcp.role",
	"server.address", "server.port", "client.address",
	"network.peer.address", "network.peer.port", "network.local.address", "network.local.port", "network.type",
	"tcp.congestion_control", "tcp.stack", "network.namespace.id",
}

// String returns the attribute's name in the semantic conventions.
func (a Attribute) String() string {
	if a < numAttributes {
		return attributeNames[a]
	}
	return fmt.Sprintf("attribute(%d)", uint8(a))
}

// ParseAttribute is the reverse of [Attribute.String].
func ParseAttribute(name string) (Attribute, error) {
	if i := slices.Index(attributeNames[:], name); i >= 0 {
		return Attribute(i), nil
	}
	return 0, fmt.Errorf("got %q, takes one of %s", name, strings.Join(attributeNames[:], ", "))
}

// attributes is a set of them.
type attributes uint32

// ofProcess are those that the owner of a socket tells.
const ofProcess attributes = 1<<ProcessPID | 1<<ProcessExecutableName | 1<<ProcessOwner | 1<<ContainerID

func (s attributes) has(a Attribute) bool { return s&(1<<a) != 0 }
