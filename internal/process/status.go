// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"errors"
)

var errStatus = errors.New("no Uid line in status")

// parseUID returns the real uid out of /proc/pid/status: the first number of
// "Uid:\treal\teffective\tsaved\tfilesystem" (task_state in fs/proc/array.c).
// The Name line above it cannot forge another: its newlines are escaped.
func parseUID(status []byte) (uint32, error) {
	for len(status) > 0 {
		var line []byte
		line, status, _ = bytes.Cut(status, []byte{'\n'})
		ids, ok := bytes.CutPrefix(line, []byte("Uid:\t"))
		if !ok {
			continue
		}
		uid, _, _ := bytes.Cut(ids, []byte{'\t'})
		n, ok := parseUint(uid)
		if !ok || n > 1<<32-1 {
			return 0, errStatus
		}
		return uint32(n), nil
	}
	return 0, errStatus
}
