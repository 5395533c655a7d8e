// SPDX-License-Identifier: Apache-2.0

package process

import "math"

// parseUint parses an unsigned decimal number out of bytes: strconv's wants a
// string, which is an allocation for each descriptor.
func parseUint(b []byte) (n uint64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
