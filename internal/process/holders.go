// SPDX-License-Identifier: Apache-2.0

package process

import "context"

// Holders lists which descriptors of which processes are sockets, for less than
// a walk over /proc costs and with other privileges.
type Holders interface {
	// Each visits every socket among the descriptors of every process.
	Each(ctx context.Context, visit func(pid, fd int32, inode uint64) error) error
	Close() error
}
