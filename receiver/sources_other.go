// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !freebsd

package receiver

import "github.com/netpulse/tcpstatsreceiver/internal/source"

// sources are the kernel interfaces of this system: none is known yet.
func sources() []source.Factory { return nil }
