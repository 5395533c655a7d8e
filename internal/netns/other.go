// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Namespace is a network namespace; only Linux has them.
type Namespace struct{}

// Open fails.
func Open(string, int32, uint64) (*Namespace, error) { return nil, Supported() }

// ID is 0.
func (*Namespace) ID() uint64 { return 0 }

// Do fails.
func (*Namespace) Do(func() error) error { return Supported() }

// Close does nothing.
func (*Namespace) Close() error { return nil }

// Own returns 0.
func Own() (uint64, error) { return 0, nil }

// Cookie is 0.
func (*Namespace) Cookie() (uint64, error) { return 0, nil }

// OwnCookie returns 0.
func OwnCookie() (uint64, error) { return 0, nil }

// Find finds none.
func Find(context.Context, string) ([]Found, int, error) { return nil, 0, Supported() }

// Supported returns that there is no such thing here.
func Supported() error {
	return fmt.Errorf("network namespaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
