// SPDX-License-Identifier: Apache-2.0

// Package record makes records of what happens to connections, and decides which
// of them are written: a listener of the engine fills a bounded queue, and whoever
// writes takes batches out of it. It knows nothing of how records are written.
package record
