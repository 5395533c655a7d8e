// SPDX-License-Identifier: Apache-2.0

//go:build linux && !(amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// Factory makes sources that do not open: the programs are for 64-bit,
// little-endian machines.
func Factory() source.Factory {
	return source.Factory{
		Name:         name,
		Rank:         rank,
		Capabilities: source.RTT | source.Bytes | source.Closes | source.Processes,
		Open: func(context.Context) (source.Source, error) {
			return nil, fmt.Errorf("BPF programs for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
		},
	}
}

// Holders is never made.
type Holders struct{}

// OpenHolders fails.
func OpenHolders() (*Holders, error) {
	return nil, fmt.Errorf("BPF programs for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
}

// Each does nothing.
func (*Holders) Each(context.Context, func(pid, fd int32, inode uint64) error) error { return nil }

// Close does nothing.
func (*Holders) Close() error { return nil }
