// SPDX-License-Identifier: Apache-2.0

// Package netnstest makes network namespaces for tests, and joins them by pairs of
// interfaces. It skips tests where that cannot be done.
package netnstest
