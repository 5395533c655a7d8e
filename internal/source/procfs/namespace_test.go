// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamespace(t *testing.T) {
	require.Zero(t, Namespace("testdata/states"))
	if runtime.GOOS != "linux" {
		t.Skip("network namespaces are Linux's")
	}
	link, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	want := parseNamespace(link)
	require.NotZero(t, want)
	require.Equal(t, want, Namespace(DefaultDir))
	require.Equal(t, want, Namespace("/proc/self/net"))
	require.Zero(t, Namespace("/proc/0/net"))
}

func TestParseNamespace(t *testing.T) {
	require.Equal(t, uint64(4026531833), parseNamespace("net:[4026531833]"))
	for _, bad := range []string{"", "net:[]", "net:[1", "net:1]", "mnt:[4026531833]", "net:[-1]", "net:[18446744073709551616]", "net:[1]x"} {
		require.Zero(t, parseNamespace(bad), bad)
	}
}

func FuzzParseNamespace(f *testing.F) {
	f.Add("net:[4026531833]")
	f.Add("net:[")
	f.Fuzz(func(_ *testing.T, link string) { parseNamespace(link) })
}
