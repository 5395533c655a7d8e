// SPDX-License-Identifier: Apache-2.0

// Package sourcetest tests that a source does what package source promises of it,
// and makes what such tests need. Each source's own tests call [Run].
package sourcetest
