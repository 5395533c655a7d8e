// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !freebsd

package e2e

import (
	"runtime"
	"testing"
)

func TestCollector(t *testing.T) {
	t.Skipf("end-to-end tests want Linux or FreeBSD: there is no source of TCP sockets for %s yet", runtime.GOOS)
}
