// SPDX-License-Identifier: Apache-2.0

//go:build !freebsd

package kmod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

func span(*os.File) error {
	return fmt.Errorf("network stacks of jails on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func maySpan(*os.File) bool { return false }

// Stacks implements source.Spanning.
func (s *Source) Stacks(context.Context) ([]source.Stack, error) { return nil, span(s.file) }
