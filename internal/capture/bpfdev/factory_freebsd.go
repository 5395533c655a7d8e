// SPDX-License-Identifier: Apache-2.0

package bpfdev

import "github.com/netpulse/tcpstatsreceiver/internal/capture"

const (
	name         = "bpf_device"
	rank         = 20
	capabilities = capture.KernelFilter | capture.Timestamps
)
