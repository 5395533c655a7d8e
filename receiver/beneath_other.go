//go:build !linux

package receiver

import "github.com/netpulse/tcpstatsreceiver/internal/beneath"

// readBeneath has nothing to read on this system yet.
func readBeneath() (beneath.Numbers, error) { return beneath.Numbers{}, nil }
