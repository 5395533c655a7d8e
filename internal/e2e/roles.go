// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

// roleVariable says what a process that runs the test binary is there for.
const roleVariable = "TCPSTATS_E2E_ROLE"

const (
	roleNamespace = "namespace" // runs the tests, in a network namespace of their own
	roleHolder    = "holder"    // holds sockets for the tests
	roleHeir      = "heir"      // keeps what it inherited open until its input ends
)
