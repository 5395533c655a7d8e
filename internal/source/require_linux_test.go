// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What is required and not there is said with the capability of Linux that it takes.
func TestRequireNamesTheCapability(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &had[0]))
	less := had
	less[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	require.NoError(t, unix.Capset(&header, &less[0]))
	defer func() { require.NoError(t, unix.Capset(&header, &had[0])) }()

	f := newFixture(Choice{Name: "last", Require: Namespaces})
	f.last.gives |= Namespaces
	f.last.here = Processes
	f.Selector = NewSelector(f.factories(), Choice{Name: "last", Require: Namespaces}, f.Selector.log, f.Selector.onChange)
	err := f.Open(context.Background(), time.Now())
	assert.ErrorContains(t, err, "last: gives processes here, not namespaces (")
	assert.ErrorContains(t, err, "CAP_SYS_ADMIN is missing")
	assert.Empty(t, (RTT | Processes).refusal())
}
