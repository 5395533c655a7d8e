// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
)

// openHolders returns what lists the holders of sockets, nil if /proc must be walked
// for them.
func openHolders(log *zap.Logger) process.Holders {
	h, err := bpf.OpenHolders()
	if err != nil {
		log.Info("the holders of sockets are looked for in /proc: BPF cannot list them", zap.Error(err))
		return nil
	}
	return h
}
