// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"testing"
)

// TestMain runs the tests in a network namespace of their own where that can be
// had. The same binary also is the helper processes.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleHolder:
		hold(os.Stdin, os.Stdout)
		return
	case roleHeir:
		inherit(os.Stdin)
		return
	case roleNamespace:
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: a new network namespace could not be made ready:", err)
			os.Exit(1)
		}
	default:
		if os.Geteuid() != 0 {
			break
		}
		code, err := runInNamespace()
		if err == nil {
			os.Exit(code)
		}
		fmt.Fprintln(os.Stderr, "e2e: on the host's loopback interface, for want of a network namespace of its own:", err)
	}
	code := m.Run()
	unstage()
	os.Exit(code)
}
