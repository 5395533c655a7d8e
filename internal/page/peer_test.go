// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// What is known of a peer is shown: its name where there is room for one, and all in
// the tables of connections.
func TestPeersAreShown(t *testing.T) {
	s := socket(1)
	known := row{Connection: event.Connection{Local: s.Local, Peer: s.Peer, State: s.State, PeerInfo: &event.Peer{
		Name: "db.example", Service: "orders-db", Process: &process.Process{PID: 7, Executable: "postgres"},
		Translated: netip.MustParseAddrPort("10.0.0.9:5432"), Country: "DE", ASN: 64496, ASOrg: "Example",
	}}}
	n := &snapshot{point: &point{}, rows: []row{known, {Connection: event.Connection{Local: s.Local, Peer: s.Peer, State: s.State}}}}
	var objects []map[string]any
	require.NoError(t, json.Unmarshal(appendRows(nil, columns(), n.rows), &objects))
	for name, want := range map[string]any{
		"peer_name": "db.example", "peer_service": "orders-db", "peer_process": "postgres", "peer_pid": 7.0,
		"peer_translated": "10.0.0.9:5432", "peer_country": "DE", "peer_as_number": 64496.0, "peer_as_organization": "Example",
	} {
		assert.Equal(t, want, objects[0][name], name)
		assert.Contains(t, objects[1], name)
		assert.Nil(t, objects[1][name], name)
	}
	records, err := csv.NewReader(strings.NewReader(string(csvOf(columns(), n.rows)))).ReadAll()
	require.NoError(t, err)
	assert.Contains(t, records[1], "db.example")

	// A peer that becomes known makes its connection be sent once more.
	difference := &difference{}
	later := &snapshot{point: n.point, rows: []row{known}}
	first := &snapshot{point: n.point, rows: []row{n.rows[1]}}
	for _, step := range []struct {
		of   *snapshot
		want []any
	}{{first, []any{""}}, {later, []any{"db.example"}}, {later, nil}} {
		var message struct{ Born [][]any }
		require.NoError(t, json.Unmarshal(append(difference.append([]byte("{"), step.of, false), '}'), &message))
		var names []any
		for _, b := range message.Born {
			names = append(names, b[15])
		}
		assert.Equal(t, step.want, names)
	}

	_, top := (&Page{}).top(httptest.NewRequest(http.MethodGet, "/top", nil), later)
	assert.Contains(t, string(top), "db.example:")
	known.PeerInfo.Name = ""
	ended := appendHappened(nil, &happened{Connection: known.Connection, end: true, at: time.Unix(1, 0)})
	assert.Contains(t, string(ended), `"peer_name":"orders-db"`)
}
