// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
)

// peerAttributes is how many putPeer writes at most.
const peerAttributes = 9

// attributes is a set of attributes of peers.
type attributes uint32

const allAttributes = ^attributes(0)

func attributesOf(all []group.Attribute) (set attributes) {
	for _, a := range all {
		set |= 1 << a
	}
	return set
}

func (s attributes) has(a group.Attribute) bool { return s&(1<<a) != 0 }

// of returns as much of what is known of a peer as its attributes show.
func (s attributes) of(p *event.Peer) (seen event.Peer) {
	if p == nil {
		return seen
	}
	if s.has(group.ServerAddress) {
		seen.Name = p.Name
	}
	if s.has(group.ServiceName) {
		seen.Service = p.Service
	}
	if s.has(group.PeerPID) || s.has(group.PeerExecutableName) || s.has(group.PeerContainerID) {
		seen.Process = p.Process
	}
	if s.has(group.TranslatedAddress) || s.has(group.TranslatedPort) {
		seen.Translated = p.Translated
	}
	if s.has(group.Country) {
		seen.Country = p.Country
	}
	if s.has(group.ASNumber) {
		seen.ASN = p.ASN
	}
	if s.has(group.ASOrganization) {
		seen.ASOrg = p.ASOrg
	}
	return seen
}

// putPeer writes what is known of the other end of a connection beside its address
// and name, with the same attributes as groups have.
func putPeer(attrs pcommon.Map, p *event.Peer, wanted attributes) {
	text := func(a group.Attribute, text string) {
		if text != "" && wanted.has(a) {
			attrs.PutStr(a.String(), text)
		}
	}
	number := func(a group.Attribute, n int64) {
		if wanted.has(a) {
			attrs.PutInt(a.String(), n)
		}
	}
	text(group.ServiceName, p.Service)
	if p.Process != nil {
		number(group.PeerPID, int64(p.Process.PID))
		text(group.PeerExecutableName, p.Process.Executable)
		text(group.PeerContainerID, p.Process.ContainerID)
	}
	if p.Translated.IsValid() {
		text(group.TranslatedAddress, p.Translated.Addr().String())
		number(group.TranslatedPort, int64(p.Translated.Port()))
	}
	text(group.Country, p.Country)
	if p.ASN != 0 {
		number(group.ASNumber, int64(p.ASN))
	}
	text(group.ASOrganization, p.ASOrg)
}

// withPeer returns what goes on each point of a connection: what is known of its
// process, and what is wanted of its peer. Without a name, the address of the peer is
// there anyway.
func (w *Writer) withPeer(process pcommon.Map, p *event.Peer) pcommon.Map {
	if p == nil || w.peerAttributes == 0 {
		return process
	}
	both := pcommon.NewMap()
	process.CopyTo(both)
	if p.Name != "" && w.peerAttributes.has(group.ServerAddress) {
		both.PutStr(group.ServerAddress.String(), p.Name)
	}
	putPeer(both, p, w.peerAttributes)
	return both
}
