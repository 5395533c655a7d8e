// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhole(t *testing.T) {
	changed := &PartialError{Type: ErrorInterrupted, Count: 1, First: errors.New("sockets came or went")}
	malformed := &PartialError{Type: ErrorDecode, Count: 1, First: errors.New("too short")}
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, true},
		{changed, true},
		{fmt.Errorf("list: %w", changed), true},
		{malformed, false},
		{errors.Join(changed, malformed), false},
		{ErrInterrupted, false},
		{errors.New("no device"), false},
	} {
		assert.Equal(t, tt.want, Whole(tt.err), "%v", tt.err)
	}
}
