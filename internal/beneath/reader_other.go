// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !freebsd

package beneath

import "context"

// Reader has nothing to read on this system.
type Reader struct{}

// NewReader returns a reader.
func NewReader() *Reader { return &Reader{} }

// Read returns nothing.
func (*Reader) Read(context.Context, Parts) (Numbers, error) { return Numbers{}, nil }
