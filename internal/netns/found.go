// SPDX-License-Identifier: Apache-2.0

package netns

import "errors"

// ErrGone says that a namespace is no longer where it was found.
var ErrGone = errors.New("network namespace is gone")

// Found is a namespace with processes.
type Found struct {
	ID uint64
	// Name is what ip-netns(8) calls it, "" if it has no name.
	Name string
	// PIDs are processes in it, rising, some dozens at most.
	PIDs []int32
}
