// SPDX-License-Identifier: Apache-2.0

package beneath

import "context"

// Reader reads what the calling thread's network namespace counts.
type Reader struct{}

// NewReader returns a reader.
func NewReader() *Reader { return &Reader{} }

// Read returns what is wanted. With an error, which names what could not be read or
// understood, it returns the rest. What the host does not have is no error.
func (*Reader) Read(_ context.Context, want Parts) (Numbers, error) {
	return ReadProcfs(Dir, ConntrackDir, want)
}
