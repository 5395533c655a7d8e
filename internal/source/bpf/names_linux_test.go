// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// One program has one name: the one that its process has in /proc and the one that
// is seen at the end of its connections.
func TestTheSameNameAsProc(t *testing.T) {
	if to := os.Getenv("TCPSTATS_TEST_CONNECT"); to != "" {
		connectAndClose(to)
	}
	c := watched(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { assert.NoError(t, l.Close()) }()
	binary, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	r, err := process.NewResolver(process.Options{})
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Close()) }()

	long := strings.Repeat("x", tcp.MaxName-1)
	for file, tt := range map[string]struct {
		deleted bool
		want    string
	}{
		"plain":               {false, "plain"},
		"gone":                {true, "gone"},
		"a (deleted)":         {false, "a (deleted)"},
		"b (deleted)":         {true, "b (deleted)"},
		long + "ü-and-more":   {false, long},
		"not\xff\xfe-unicode": {false, "not\uFFFD-unicode"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), file)
			require.NoError(t, os.WriteFile(path, binary, 0o755))
			cmd := exec.Command(path, "-test.run", "^TestTheSameNameAsProc$")
			cmd.Env = append(os.Environ(), "TCPSTATS_TEST_CONNECT="+l.Addr().String())
			input, err := cmd.StdinPipe()
			require.NoError(t, err)
			output, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			said := bufio.NewReader(output)
			defer func() {
				_ = input.Close()
				_ = cmd.Wait()
			}()
			server, err := l.Accept()
			require.NoError(t, err)
			line, err := said.ReadString('\n')
			require.NoError(t, err)
			local, err := netip.ParseAddrPort(strings.TrimSpace(line))
			require.NoError(t, err)
			if tt.deleted {
				require.NoError(t, os.Remove(path))
			}
			p, err := r.Describe(time.Now(), int32(cmd.Process.Pid))
			require.NoError(t, err)
			assert.Equal(t, tt.want, p.Executable)

			_, err = input.Write([]byte{'\n'})
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, server)
			require.NoError(t, err)
			require.NoError(t, server.Close())
			ends := pair{local, endpoints(server)[0]}
			holder := noticesOf(t, c, ends)[ends].Holder
			require.NotNil(t, holder)
			assert.Equal(t, tt.want, holder.Executable)
			assert.Same(t, p, r.Seen(time.Now(), holder))
		})
	}
}

// connectAndClose connects, says from where, closes at the first line of input, and
// ends with the input.
func connectAndClose(to string) {
	c, err := net.Dial("tcp", to)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.LocalAddr())
	input := bufio.NewReader(os.Stdin)
	_, _ = input.ReadString('\n')
	_ = c.Close()
	_, _ = io.Copy(io.Discard, input)
	os.Exit(0)
}
