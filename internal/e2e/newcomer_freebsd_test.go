// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// network is the group that may read the devices of the module.
const network = 69

// TestNewcomer does what docs/freebsd.md says, with the files of an installed package:
// the connections without a collector, and the service with the configuration that is
// installed, as the users that the document names. `make test-freebsd PACKAGE=tarball`
// installs it; pkg(8), service(8) and a shell are not in that guest.
func TestNewcomer(t *testing.T) {
	prefix := os.Getenv("TCPSTATS_PACKAGE")
	if prefix == "" {
		t.Skip("no package is installed: make test-freebsd KERNEL=path KMOD=path PACKAGE=tarball")
	}
	server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: 4})
	connect(t, client, l, ConnectArgs{}).talk(t, 5000, 70, 0)
	program := filepath.Join(prefix, "bin/otelcol-tcpstats")
	config := filepath.Join(prefix, "etc/otelcol-tcpstats/config.yaml")

	t.Run("Module", func(t *testing.T) {
		text, err := os.ReadFile(device + ".text")
		require.NoError(t, err, "cat %s.text", device)
		var lines []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, fmt.Sprint(l.Local.Port())) {
				lines = append(lines, line)
			}
		}
		t.Logf("%s.text:\n%s", device, strings.Join(lines, ""))
		assert.GreaterOrEqual(t, len(lines), 3, "the listener, the client and the server:\n%s", text)
		for _, name := range []string{"Makefile", "tcpstats.4"} {
			assert.FileExists(t, filepath.Join(prefix, "share/otelcol-tcpstats/kmod", name))
		}
	})
	for _, one := range []struct {
		name, source string
		as           syscall.Credential
	}{
		{"Nobody", "sysctl", syscall.Credential{Uid: nobody, Gid: nobody}},
		// The first of the groups is the effective one, for setgroups(2) before FreeBSD 15.
		{"UserOfGroupNetwork", "kmod", syscall.Credential{Uid: 1001, Gid: 1001, Groups: []uint32{1001, network}}},
	} {
		t.Run(one.name, func(t *testing.T) {
			run := func(args ...string) *exec.Cmd {
				cmd := exec.Command(program, args...)
				cmd.Env = []string{"GOMEMLIMIT=400MiB", "PATH=/bin:/sbin"} // otelcol_tcpstats_env
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &one.as}
				return cmd
			}
			// start_precmd of the rc.d script.
			out, err := run("validate", "--config", config).CombinedOutput()
			require.NoError(t, err, "%s", out)

			var said log
			cmd := run("--config", config)
			cmd.Stdout, cmd.Stderr = &said, &said
			require.NoError(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			stop := func() error {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				select {
				case err := <-ended:
					return err
				case <-time.After(patience):
					_ = cmd.Process.Kill()
					return fmt.Errorf("it does not end: %w", <-ended)
				}
			}
			var top string
			arrived := assert.Eventually(t, func() bool {
				// fetch -qo - http://127.0.0.1:8890/top
				response, err := web.Get("http://127.0.0.1:8890/top")
				if err != nil {
					return false
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				top = string(body)
				return err == nil && response.StatusCode == http.StatusOK && strings.Contains(top, client.Executable)
			}, patience, 200*time.Millisecond, "the page does not show the connection")
			assert.NoError(t, stop(), "SIGTERM")
			if !arrived {
				t.Logf("the page:\n%s\nthe log:\n%s", top, said.String())
				return
			}
			t.Logf("http://127.0.0.1:8890/top:\n%s", top)
			assert.Contains(t, top, "source "+one.source, "the log:\n%s", &said)
			assert.Contains(t, top, server.Executable)
		})
	}
}
