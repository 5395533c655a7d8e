// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestName(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"", ""},
		{"nginx", "nginx"},
		{"grüße-server", "grüße-server"},
		{"exactly15bytes-", "exactly15bytes-"},
		{"sixteen-bytes-is-cut", "sixteen-bytes-i"},
		{"fourteen-bytesü", "fourteen-bytes"},                // cut after the first byte of ü
		{"thirteen-byte€", "thirteen-byte"},                  // cut after two bytes of €
		{"twelve-bytes𝄞", "twelve-bytes"},                    // cut after three bytes of 𝄞
		{"eleven-byte𝄞x", "eleven-byte𝄞"},                    // cut behind it
		{"short\xc3", "short\uFFFD"},                         // not cut: its own last byte
		{"\x80\x80\x80\x80-fifteen-by", "\uFFFD-fifteen-by"}, // no character begins there
		{"fourteen-bytes\xff", "fourteen-bytes\uFFFD"},       // begins none
	} {
		assert.Equal(t, tt.want, Name([]byte(tt.name), 15), tt.name)
	}
	long := strings.Repeat("x", MaxName-1)
	assert.Equal(t, long, FileName([]byte(long+"ü")))
	assert.Equal(t, long, FileName([]byte(long + "ü")[:MaxName]), "as BPF cuts it")
	assert.Equal(t, long+"y", FileName([]byte(long+"yz")))
}

func FuzzName(f *testing.F) {
	f.Add([]byte("fourteen-bytesü"), 15)
	f.Add([]byte("\xff\xe2\x82"), 3)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(0, min(limit, len(b)+1))
		name := Name(b, limit)
		require.True(t, utf8.ValidString(name))
		require.Equal(t, name, Name(b[:min(limit, len(b))], limit), "it does not matter who cuts")
		if utf8.Valid(b) {
			require.True(t, strings.HasPrefix(string(b), name))
			require.Greater(t, len(name), min(limit, len(b))-utf8.UTFMax)
		}
	})
}
