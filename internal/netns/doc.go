// SPDX-License-Identifier: Apache-2.0

// Package netns finds the network namespaces of a host and runs functions in
// them. A namespace is known by its inode, which is what lsns(8) shows.
package netns
