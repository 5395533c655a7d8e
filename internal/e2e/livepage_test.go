// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLivePage reads the live page as scripts do, over connections whose ends the
// processes know.
func TestLivePage(t *testing.T) {
	endpoint := freeEndpoint(t)
	server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: 4})
	port := l.Local.Port()
	p := connect(t, client, l, ConnectArgs{})
	p.talk(t, 5000, 70, 0)
	c := startCollector(t, every("1s", fmt.Sprintf("page: {endpoint: %q}", endpoint)), 0)
	get := func(path string) string {
		response, err := web.Get("http://" + endpoint + path)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		if response.StatusCode == http.StatusServiceUnavailable {
			return "" // there was no scrape yet
		}
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		return string(body)
	}
	var rows []map[string]any
	ours := func() map[string]map[string]any {
		byRole := make(map[string]map[string]any)
		rows = nil
		_ = json.Unmarshal([]byte(get("/connections.json")), &rows)
		for _, row := range rows {
			if row["local_port"] == float64(port) || row["peer_port"] == float64(port) {
				byRole[fmt.Sprint(row["role"])] = row
			}
		}
		return byRole
	}
	c.await(t, "the page does not have the connection", func() bool { return len(ours()) == 2 })
	for role, known := range map[string]struct {
		process        *Process
		sent, received float64
	}{"client": {client, 5000, 70}, "server": {server, 70, 5000}} {
		row := ours()[role]
		assert.Equal(t, known.process.Executable, row["process"], role)
		assert.EqualValues(t, known.process.PID, row["pid"], role)
		assert.Equal(t, "established", row["state"], role)
		if row["bytes_sent"] != nil { // FreeBSD's sysctl may not have it
			assert.Equal(t, known.sent, row["bytes_sent"], role)
			assert.Equal(t, known.received, row["bytes_received"], role)
		}
	}
	records, err := csv.NewReader(strings.NewReader(get("/connections.csv"))).ReadAll()
	require.NoError(t, err)
	assert.Greater(t, len(records), 2)
	assert.Equal(t, "id", records[0][0])

	top := get("/top?n=1000")
	for _, words := range []string{"PROCESS", server.Executable, client.Executable} {
		assert.Contains(t, top, words)
	}
	inUse := func(name string) bool { return c.source(t, name) == 1 && strings.Contains(top, "source "+name) }
	assert.True(t, slices.ContainsFunc([]string{"bpf", "sock_diag", "procfs", "kmod", "sysctl"}, inUse), top)
	var listeners []map[string]any
	require.NoError(t, json.Unmarshal([]byte(get("/listeners.json")), &listeners))
	found := false
	for _, one := range listeners {
		found = found || one["local_port"] == float64(port) && one["process"] == server.Executable
	}
	assert.True(t, found, "no listener on port %s: %v", strconv.Itoa(int(port)), listeners)
	assert.Contains(t, get("/groups.json"), server.Executable)
	assert.Contains(t, get("/"), "<!doctype html>")

	// It shows, and only to whoever asks for this host.
	for header, want := range map[string]int{"evil.example": http.StatusMisdirectedRequest, "localhost": http.StatusOK} {
		request, err := http.NewRequest(http.MethodGet, "http://"+endpoint+"/top", nil)
		require.NoError(t, err)
		request.Host = header
		response, err := web.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, response.StatusCode, header)
	}
	response, err := web.Post("http://"+endpoint+"/connections.json", "text/plain", nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
}
