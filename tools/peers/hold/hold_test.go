// SPDX-License-Identifier: Apache-2.0

//go:build linux

package hold

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSplit(t *testing.T) {
	specs, err := split(Plan{Sockets: 20, Processes: 3, Clients: 4, Namespaces: true}, 100)
	require.NoError(t, err)
	assert.Equal(t, []spec{
		{Number: 0, Connections: 4, First: 0, Clients: 4, Namespace: true},
		{Number: 1, Connections: 3, First: 4, Clients: 4, Namespace: true},
		{Number: 2, Connections: 3, First: 7, Clients: 4, Namespace: true},
	}, specs)

	specs, err = split(Plan{Sockets: 500}, 100)
	require.NoError(t, err)
	assert.Len(t, specs, 3, "as few as can hold them")

	_, err = split(Plan{Sockets: 500, Processes: 2}, 100)
	assert.ErrorContains(t, err, "each holds 2 to 200")
	_, err = split(Plan{Sockets: 500, Processes: 251}, 100)
	assert.Error(t, err)
}

func TestClients(t *testing.T) {
	s := spec{First: 248, Clients: 500}
	assert.Equal(t, "127.2.0.249", s.client(0).IP.String())
	assert.Equal(t, "127.2.1.1", s.client(2).IP.String())
	assert.Equal(t, "127.2.0.1", s.client(252).IP.String())
	assert.Nil(t, (&spec{}).client(1))
}
