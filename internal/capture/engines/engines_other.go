// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !freebsd

package engines

import "github.com/netpulse/tcpstatsreceiver/internal/capture"

// All returns nothing: no engine is for this system.
func All() []capture.Factory { return nil }
