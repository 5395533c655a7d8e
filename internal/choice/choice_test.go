// SPDX-License-Identifier: Apache-2.0

package choice

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tools is a set of needs.
type tools uint8

const (
	saw tools = 1 << iota
	drill
	file
)

var toolNames = []string{"saw", "drill", "file"}

func (t tools) String() string { return Text(t, toolNames) }

type kit Kind[tools]

func (k kit) Kind() Kind[tools] { return Kind[tools](k) }

var kits = []kit{
	{Name: "small", Rank: 1, Capabilities: file, Lacks: " (a case)"},
	{Name: "large", Rank: 3, Capabilities: saw | drill | file},
	{Name: "medium", Rank: 2, Capabilities: saw | file},
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name    string
		require tools
		err     string
	}{
		{Auto, 0, ""},
		{Auto, saw | drill, ""},
		{"medium", saw, ""},
		{"huge", 0, `kit: got "huge", takes auto, large, medium, small`},
		{"small", saw | file, "require: got saw, file, which no kit that `kit: small` allows gives (small: gives file, not saw (a case); large: not asked for; medium: not asked for)"},
	} {
		err := Check("kit", test.name, test.require, kits)
		if test.err == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, test.err)
		}
	}
	assert.NoError(t, Check("kit", Auto, saw, []kit(nil)), "there is nothing on this system")
	assert.EqualError(t, Check("kit", "small", 0, []kit(nil)), `kit: got "small", takes auto`)
}

func TestAmong(t *testing.T) {
	wanted, unfit := Among(Auto, saw, kits)
	assert.Equal(t, []kit{kits[1], kits[2]}, wanted)
	assert.Equal(t, []string{"small: gives file, not saw (a case)"}, unfit)
	assert.Equal(t, []string{"large", "medium", "small"}, Names(kits))
	assert.Equal(t, []kit{kits[1]}, Better(kits, 2))
	assert.Equal(t, []string{"small: ranks lower, gives file (a case)"}, Worse(kits, 2))
}

func TestSets(t *testing.T) {
	assert.Equal(t, "none", tools(0).String())
	assert.Equal(t, "saw, file", (saw | file).String())
	for _, one := range []tools{saw, drill, file} {
		got, err := Parse[tools](one.String(), toolNames)
		require.NoError(t, err)
		assert.Equal(t, one, got)
	}
	_, err := Parse[tools]("hammer", toolNames)
	assert.EqualError(t, err, `got "hammer", takes saw, drill, file`)
}
