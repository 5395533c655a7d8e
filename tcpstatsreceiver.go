// SPDX-License-Identifier: Apache-2.0

package tcpstatsreceiver

import (
	collector "go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/receiver"
)

// NewFactory returns the factory of the receiver tcp_stats.
func NewFactory() collector.Factory { return receiver.NewFactory() }
