// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUDPSockets(t *testing.T) {
	dir := t.TempDir()
	list := func() (all []string, err error) {
		err = UDPSockets(dir, func(local netip.AddrPort, inode uint64) { all = append(all, fmt.Sprint(local, " ", inode)) })
		return all, err
	}
	_, err := list()
	require.ErrorIs(t, err, os.ErrNotExist)

	any4, resolver := netip.MustParseAddrPort("0.0.0.0:0"), netip.MustParseAddrPort("192.0.2.53:53")
	order := hostOrder()
	text := "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		kernelLine(1, netip.MustParseAddrPort("0.0.0.0:5353"), any4, 7, 0, 0, 0, 1000, 4711, order) + "\n" +
		"this is no socket\n" +
		kernelLine(2, netip.MustParseAddrPort("192.0.2.10:40000"), resolver, 1, 0, 0, 0, 0, 4712, order) + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "udp"), []byte(text), 0o600))
	all, err := list()
	require.NoError(t, err)
	assert.Equal(t, []string{"0.0.0.0:5353 4711", "192.0.2.10:40000 4712"}, all)

	text = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		kernelLine(1, netip.MustParseAddrPort("[::]:40001"), netip.MustParseAddrPort("[::]:0"), 7, 0, 0, 0, 0, 4713, order) + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "udp6"), []byte(text), 0o600))
	all, err = list()
	require.NoError(t, err)
	assert.Equal(t, "[::]:40001 4713", all[2])
}
