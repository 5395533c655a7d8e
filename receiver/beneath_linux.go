package receiver

import "github.com/netpulse/tcpstatsreceiver/internal/beneath"

// readBeneath reads what the host counts beneath TCP.
func readBeneath() (beneath.Numbers, error) { return beneath.Read(beneath.Dir, beneath.ConntrackDir) }
