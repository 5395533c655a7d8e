// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sysctl"
)

// Factory makes sources that read the module's device, and through sysctl(3)
// what it does not have.
func Factory() source.Factory {
	return factory(Device, func(ctx context.Context) (Host, error) {
		counters, err := sysctl.NewCounters(ctx)
		if err != nil {
			return nil, err
		}
		embryos := &sysctl.EmbryoReader{Decoder: sysctl.NewDecoder()}
		embryos.Decoder.Zone = source.NewZones().Name
		return struct {
			*sysctl.CounterReader
			*sysctl.EmbryoReader
		}{counters, embryos}, nil
	})
}
