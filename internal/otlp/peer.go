package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
)

// peerAttributes is how many putPeer writes at most.
const peerAttributes = 9

// putPeer writes what is known of the other end of a connection beside its address
// and name, with the same attributes as groups have.
func putPeer(attrs pcommon.Map, p *event.Peer) {
	putText(attrs, group.ServiceName, p.Service)
	if p.Process != nil {
		attrs.PutInt(group.PeerPID.String(), int64(p.Process.PID))
		putText(attrs, group.PeerExecutableName, p.Process.Executable)
		putText(attrs, group.PeerContainerID, p.Process.ContainerID)
	}
	if p.Translated.IsValid() {
		attrs.PutStr(group.TranslatedAddress.String(), p.Translated.Addr().String())
		attrs.PutInt(group.TranslatedPort.String(), int64(p.Translated.Port()))
	}
	putText(attrs, group.Country, p.Country)
	if p.ASN != 0 {
		attrs.PutInt(group.ASNumber.String(), int64(p.ASN))
	}
	putText(attrs, group.ASOrganization, p.ASOrg)
}

func putText(attrs pcommon.Map, a group.Attribute, text string) {
	if text != "" {
		attrs.PutStr(a.String(), text)
	}
}
