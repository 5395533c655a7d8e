// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"strings"
)

// MaxNames is more congestion controls and TCP stacks than any kernel has.
const MaxNames = 64

// Interner keeps the names of congestion controls and TCP stacks, at most MaxNames
// of them, so that none is allocated twice.
type Interner map[string]string

// Of returns a C string, which in a field of its own length need not end in NUL.
func (n Interner) Of(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	if name, ok := n[string(b)]; ok {
		return name
	}
	if len(n) >= MaxNames {
		return ""
	}
	name := strings.ToValidUTF8(string(b), "\uFFFD")
	n[string(b)] = name
	return name
}
