// SPDX-License-Identifier: Apache-2.0

//go:build !(amd64 || arm64 || riscv64)

package bpfdev

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
)

// Factory makes engines that do not open: the records are those of 64-bit machines.
func Factory() capture.Factory {
	return capture.Factory{Name: name, Rank: rank, Capabilities: capabilities, Open: func(context.Context, capture.Options) (capture.Engine, error) {
		return nil, fmt.Errorf("bpf(4) on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}}
}
