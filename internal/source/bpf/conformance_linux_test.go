// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"testing"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
)

func TestConformance(t *testing.T) { sourcetest.Run(t, Factory(), sourcetest.Options{}) }
