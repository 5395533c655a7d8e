// SPDX-License-Identifier: Apache-2.0

package netns

// Place is where the sockets of a network namespace are. The zero Place is the
// collector's own namespace.
type Place struct {
	Namespace   uint64 // inode
	Name        string // "": none
	ContainerID string // of a container in it; "": none
}
