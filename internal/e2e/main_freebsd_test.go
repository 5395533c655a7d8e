// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"testing"
)

// TestMain runs the tests. The same binary also is the helper processes.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleHolder:
		hold(os.Stdin, os.Stdout)
		return
	case roleHeir:
		inherit(os.Stdin)
		return
	}
	code := m.Run()
	unstage()
	os.Exit(code)
}
