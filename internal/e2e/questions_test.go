// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// questions are the queries of docs/questions.md by their headings.
func questions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/questions.md")
	require.NoError(t, err)
	queries := make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)\n## ([^\n]+)\n\n```promql\n(.*?)\n```").FindAllStringSubmatch(string(text), -1) {
		queries[m[1]] = m[2]
	}
	return queries
}

// hasten makes of hours and days what a test can wait for.
var hasten = strings.NewReplacer("offset 1h", "offset 20s", "> 3600", "> 15")

// otelcol is the receiver's own configuration of these tests, each second, and that
// of two Prometheus: one is sent to, the other scrapes.
func watched(t *testing.T, receiver string) (sent, scraping *Prometheus, c *Collector) {
	t.Helper()
	if !ownNamespace() {
		t.Skip("this wants a network namespace of its own, and the source bpf: run it as root")
	}
	sent = startPrometheus(t, nil)
	c = startCollectorWith(t, "{initial_delay: 0s, collection_interval: 1s, process: {refresh_interval: 1s}, "+receiver+"}", 0, fmt.Sprintf(`
  otlp_http/prometheus:
    endpoint: %s
    tls: {insecure: true}
`, sent.OTLP()), "{metrics: {receivers: [tcp_stats], exporters: [otlp_grpc, otlp_http/prometheus, prometheus]}}")
	c.missing = true
	scraping = startPrometheus(t, map[string]string{"tcp": c.page, "otelcol": c.telemetry})
	return sent, scraping, c
}

// truth is what the answer to a question must be, to within a part.
type truth struct {
	rows   map[string]float64
	within float64
	others []string // rows that may be there, with any value
	// scraped marks questions about what the collector says of itself, which only the
	// Prometheus has that scrapes it.
	scraped bool
}

// TestQuestions asks the questions of docs/questions.md of two Prometheus while
// processes do what is asked for. What they know, of themselves and from their own
// sockets' TCP_INFO, is the right answer.
func TestQuestions(t *testing.T) {
	queries := questions(t)
	assert.Len(t, queries, 20)
	cast := castOfQuestions(t)
	sent, scraping, c := watched(t, `connections: {enabled: true, limit: 0}, metrics: {
		tcp.connection.idle: {enabled: true}, tcp.queueing_delay: {enabled: true}, tcp.retransmit.events: {enabled: true}}`)
	began := time.Now()
	cast.play(t, c)
	time.Sleep(2500 * time.Millisecond) // an interval of each
	want := cast.end(t)
	at := time.Now()
	t.Logf("asked after %s", at.Sub(began).Round(time.Second))
	t.Run("dashboards", func(t *testing.T) { answerDashboards(t, sent, at) })
	for name, prometheus := range map[string]*Prometheus{"sent by OTLP": sent, "scraped": scraping} {
		t.Run(name, func(t *testing.T) {
			for question, truth := range want {
				query, ok := queries[question]
				if !assert.True(t, ok, "docs/questions.md does not ask %q", question) || truth.scraped && prometheus != scraping {
					continue
				}
				got := prometheus.Query(t, hasten.Replace(query), at)
				maps.DeleteFunc(got, func(row string, _ float64) bool { return !cast.plays(row) || slices.Contains(truth.others, row) })
				t.Logf("%s %v (%v)", question, got, truth.rows)
				assert.ElementsMatch(t, slices.Collect(maps.Keys(truth.rows)), slices.Collect(maps.Keys(got)), question)
				for row, value := range truth.rows {
					assert.InDelta(t, value, got[row], truth.within*value+1e-9, "%s %s", question, row)
				}
			}
		})
	}
}

// questionCast is who does what is asked for: a server with a port for each, and its
// clients. What is open at the end stays open until then.
type questionCast struct {
	server *Process
	ports  map[string]*Held // by the client's name
	pairs  map[string]Pair
	// late are the clients that are new when the questions are asked.
	late map[string]float64 // and how many connections they opened

	cpu     time.Duration // of the collector, when it began
	c       *Collector
	rest    map[string]time.Time // since when a client's connections do nothing
	attempt string
	losers  []uint16 // the ports of connections that no process holds
	drops   float64  // that the kernel had counted before
}

// inFlight is how many connections no process holds.
const inFlight = 5

func castOfQuestions(t *testing.T) *questionCast {
	t.Helper()
	q := &questionCast{server: startProcess(t, "q-server", 0), ports: make(map[string]*Held), pairs: make(map[string]Pair), late: make(map[string]float64), rest: make(map[string]time.Time)}
	loser := q.client(t, "q-loser", 16)
	for range inFlight {
		p := connect(t, loser, q.ports["q-loser"], ConnectArgs{})
		q.losers = append(q.losers, p.Client.Local.Port())
		call[struct{}](t, loser, "LetGo", p.Client.Socket)
	}
	return q
}

// client starts a client, and a listener for it.
func (q *questionCast) client(t *testing.T, name string, backlog int) *Process {
	t.Helper()
	q.ports[name] = q.server.Listen(t, ListenArgs{At: loopback, Backlog: backlog})
	return startProcess(t, name, 0)
}

// open starts a client with one connection, which stays.
func (q *questionCast) open(t *testing.T, name string) Pair {
	t.Helper()
	q.pairs[name] = connect(t, q.client(t, name, 16), q.ports[name], ConnectArgs{})
	return q.pairs[name]
}

// lateClient is client, of one who is new when the questions are asked.
func (q *questionCast) lateClient(t *testing.T, name string, backlog, opens int) (client *Process, to *Held) {
	t.Helper()
	q.late[name] = float64(opens)
	return q.client(t, name, backlog), q.ports[name]
}

// What happens how often.
const (
	churned, left, refused, clientResets, serverResets, leaked, halfOpen = 40, 12, 7, 3, 2, 4, 3

	talked = 2 << 20 // bytes
)

// play does what is asked for: first what goes on for long, then what is new.
func (q *questionCast) play(t *testing.T, c *Collector) {
	t.Helper()
	q.c, q.cpu = c, cpuTime(t, c.PID)
	q.open(t, "q-idle").talk(t, 100, 100, 0)
	began := time.Now()
	q.rest["q-idle"], q.rest["q-loser"] = began, began
	q.open(t, "q-talker").talk(t, talked, talked/4, 0)
	q.rest["q-talker"] = time.Now()
	lossy := q.open(t, "q-lossy")
	call[struct{}](t, lossy.Server.Process, "Lossy", LossyArgs{lossy.Server.Socket, 10})
	for range 60 {
		lossy.Client.Send(t, 1000)
		lossy.Server.Receive(t, 1000)
	}
	lossy.Server.Deaf(t, false)
	q.rest["q-lossy"] = time.Now()
	slow := q.open(t, "q-slow")
	for until := began.Add(20 * time.Second); time.Now().Before(until); {
		slow.echoLate(t)
	}

	stalled, to := q.lateClient(t, "q-stalled", 1, 1)
	q.pairs["q-stalled"] = connect(t, stalled, to, ConnectArgs{})
	call[int64](t, stalled, "Fill", q.pairs["q-stalled"].Client.Socket)

	churner, to := q.lateClient(t, "q-churner", 16, churned)
	for range churned {
		comeAndGo(t, churner, to, true)
	}
	leaver, to := q.lateClient(t, "q-leaver", 16, left)
	for range left {
		comeAndGo(t, leaver, to, false)
	}
	rejected, to := q.lateClient(t, "q-refused", 16, 0)
	to.Close(t)
	for range refused {
		q.attempt = call[string](t, rejected, "Attempt", ConnectArgs{To: to.Local})
	}
	resetter, to := q.lateClient(t, "q-resetter", 16, clientResets+serverResets)
	for i := range clientResets + serverResets {
		p := connect(t, resetter, to, ConnectArgs{})
		first, second := p.Client, p.Server
		if i >= clientResets {
			first, second = second, first
		}
		first.Reset(t)
		second.Close(t)
	}
	leaky, to := q.lateClient(t, "q-leaky", 16, leaked)
	for range leaked {
		connect(t, leaky, to, ConnectArgs{}).Server.ShutdownWrite(t)
	}
	halves, to := q.lateClient(t, "q-halves", 16, 0)
	for i := range halfOpen {
		half := call[Endpoints](t, halves, "ConnectDeaf", ConnectArgs{To: to.Local})
		q.pairs[fmt.Sprintf("q-halves %d", i)] = Pair{Client: &Held{halves, half}}
	}
	q.drops = procNet(t)["ListenDrops"]
	crowd, to := q.lateClient(t, "q-crowd", 0, 1) // room for one
	for i := range 4 {
		one := crowd.Connect(t, ConnectArgs{To: to.Local, NoWait: true})
		q.pairs[fmt.Sprintf("q-crowd %d", i)] = Pair{Client: one}
	}
	time.Sleep(6 * time.Second) // they ask again
}

// end returns the right answers.
func (q *questionCast) end(t *testing.T) map[string]truth {
	t.Helper()
	const (
		twoMinutes  = 120.0
		fiveMinutes = 300.0
		executable  = "process_executable_name"
	)
	port := func(client string) uint16 { return q.ports[client].Local.Port() }
	numbers := func(client string) (at, of Numbers) {
		p := q.pairs[client]
		return p.Client.Numbers(t), p.Server.Numbers(t)
	}
	require.Equal(t, "connection refused", q.attempt)
	truths := make(map[string]truth)
	know := func(question string, within float64, rows map[string]float64, others ...string) {
		truths[question] = truth{rows: rows, within: within, others: others}
	}

	talker, talkedTo := numbers("q-talker")
	lossy, lossyServer := numbers("q-lossy")
	slow, _ := numbers("q-slow")

	// Who talks, and to whom. What waits in a buffer was not sent.
	sent := map[string]float64{
		row(executable, "q-server", "server_port", port("q-talker")): float64(talkedTo.Written) / twoMinutes,
		row(executable, "q-server", "server_port", port("q-idle")):   100 / twoMinutes,
	}
	bySender, byReader := make(map[string]float64), make(map[string]float64)
	for client, p := range q.pairs {
		if p.Server == nil {
			continue
		}
		bytes := p.Client.Numbers(t).Sent / twoMinutes
		sent[row(executable, client, "server_port", port(client))] = bytes
		bySender[client] = bytes
	}
	know("Who talks most?", .15, sent)
	bandwidth := map[string]float64{
		row(executable, "q-server", "network_io_direction", "transmit"): (float64(talkedTo.Written) + 100) / twoMinutes,
		row(executable, "q-talker", "network_io_direction", "receive"):  float64(talker.Read) / twoMinutes,
		row(executable, "q-idle", "network_io_direction", "receive"):    100 / twoMinutes,
	}
	for client, bytes := range bySender {
		bandwidth[row(executable, client, "network_io_direction", "transmit")] = bytes
		// What a filter dropped was sent, and not received.
		byReader[client] = float64(q.pairs[client].Server.Numbers(t).Received) / twoMinutes
		bandwidth[row(executable, "q-server", "network_io_direction", "receive")] += byReader[client]
	}
	know("How much bandwidth does each process use?", .15, bandwidth,
		row("network_io_direction", "transmit"), row("network_io_direction", "receive")) // of this test itself, before its process is known

	ratio := lossy.Retransmits / (lossy.Segments + lossyServer.Segments)
	require.Positive(t, ratio, "nothing was lost")
	// Whose SYNs are lost, or whose peer's window is closed, send them again, too.
	know("How many segments are lost, by port?", .1, map[string]float64{row("server_port", port("q-lossy")): ratio},
		row("server_port", port("q-halves")), row("server_port", port("q-crowd")), row("server_port", port("q-stalled")))

	// As fine as the buckets: from 10 ms to 50 ms, where all others are far below.
	require.InDelta(t, .03, slow.RTT.Seconds(), .02, "acknowledgements come up to 40 ms late")
	know("What is the round-trip time to each service?", .67, map[string]float64{row(executable, "q-slow", "server_port", port("q-slow")): .03})
	know("Is a buffer on the way full?", .67, map[string]float64{row(executable, "q-slow", "server_port", port("q-slow")): .03})

	limited := make(map[string]float64)
	for client, p := range q.pairs {
		if p.Server == nil {
			continue
		}
		one, other := numbers(client)
		busy := (one.Busy + other.Busy).Seconds()
		byPeer, byBuffer := (one.LimitedByPeer+other.LimitedByPeer).Seconds()/busy, (one.LimitedByBuffer+other.LimitedByBuffer).Seconds()/busy
		for by, part := range map[string]float64{"receiver": byPeer, "send_buffer": byBuffer, "network": 1 - byPeer - byBuffer} {
			if busy > 1 && part > .5 {
				limited[row("server_port", port(client), "tcp_limited_by", by)] = part
			}
		}
	}
	require.Contains(t, limited, row("server_port", port("q-stalled"), "tcp_limited_by", "receiver"))
	require.Contains(t, limited, row("server_port", port("q-slow"), "tcp_limited_by", "network"))
	var fleeting []string // of which some ms are not enough to judge
	for client := range q.ports {
		for _, by := range []string{"receiver", "send_buffer", "network"} {
			if r := row("server_port", port(client), "tcp_limited_by", by); limited[r] == 0 {
				fleeting = append(fleeting, r)
			}
		}
	}
	know("What holds the senders back?", .1, limited, fleeting...)

	know("How often does each process open connections?", .15, map[string]float64{
		row(executable, "q-churner", "server_port", port("q-churner")): churned / fiveMinutes,
		row(executable, "q-leaver", "server_port", port("q-leaver")):   left / fiveMinutes,
	})
	know("Who is refused, by whom?", .15, map[string]float64{
		row(executable, "q-refused", "server_port", port("q-refused"), "error_type", "connection_refused"): refused,
	})
	know("Who resets whom?", .15, map[string]float64{
		row(executable, "q-resetter", "tcp_role", "client", "tcp_end_cause", "local_reset"): clientResets,
		row(executable, "q-server", "tcp_role", "server", "tcp_end_cause", "peer_reset"):    clientResets,
		row(executable, "q-resetter", "tcp_role", "client", "tcp_end_cause", "peer_reset"):  serverResets,
		row(executable, "q-server", "tcp_role", "server", "tcp_end_cause", "local_reset"):   serverResets,
	})

	waiting := make(map[string]float64) // by client
	asked := make(map[string]float64)
	for name, p := range q.pairs {
		client, _, _ := strings.Cut(name, " ")
		if p.Server == nil && p.Client.Report(t).State == "syn_sent" {
			waiting[client]++
			asked[client] += p.Client.Numbers(t).Retransmits
		}
	}
	require.Positive(t, asked["q-halves"])
	know("Whose SYNs get no answer?", .3, map[string]float64{
		row(executable, "q-halves", "server_port", port("q-halves")): asked["q-halves"],
		row(executable, "q-crowd", "server_port", port("q-crowd")):   asked["q-crowd"],
	}, row(executable, "q-server", "server_port", port("q-halves"))) // its SYN-ACKs
	know("Which handshakes are half done?", 0, map[string]float64{
		row(executable, "q-halves", "server_port", port("q-halves"), "network_connection_state", "syn_sent"):     waiting["q-halves"],
		row(executable, "q-server", "server_port", port("q-halves"), "network_connection_state", "syn_received"): waiting["q-halves"],
		row(executable, "q-crowd", "server_port", port("q-crowd"), "network_connection_state", "syn_sent"):       waiting["q-crowd"],
	})
	drops := procNet(t)["ListenDrops"] - q.drops
	require.Positive(t, drops)
	know("Which listener does not accept fast enough?", .3, map[string]float64{
		row(executable, "q-server", "network_local_port", port("q-crowd")): drops,
	})

	used, limit := ephemeralPorts(t)
	know("Do ephemeral ports run out?", .1, map[string]float64{row(): used / limit})
	know("Who leaves connections in time_wait?", 0, map[string]float64{
		row(executable, "q-leaver", "server_port", port("q-leaver")):  left,
		row(executable, "q-server", "server_port", port("q-churner")): churned,
	})
	know("Which connections does an application forget to close?", 0, map[string]float64{row(executable, "q-leaky"): leaked})
	idle := make(map[string]float64)
	for client, since := range q.rest {
		if p, ok := q.pairs[client]; ok {
			idle[row(executable, client, "network_peer_port", port(client))] = time.Since(since).Seconds()
			idle[row(executable, "q-server", "network_peer_port", p.Client.Local.Port())] = time.Since(since).Seconds()
		} else {
			idle[row("network_peer_port", port(client))] = time.Since(since).Seconds() // no process has it
		}
	}
	// On a slow machine these are idle for long, too.
	others := []string{row(executable, "q-slow", "network_peer_port", port("q-slow")),
		row(executable, "q-server", "network_peer_port", q.pairs["q-slow"].Client.Local.Port())}
	// The other ends of those that no process has are idle as well. Of one of them there
	// was once no series, for a reason that is not known yet.
	for _, from := range q.losers {
		others = append(others, row(executable, "q-server", "network_peer_port", from))
	}
	know("Which connections have been idle for long?", .2, idle, others...)
	fresh := make(map[string]float64)
	for client, opened := range q.late {
		fresh[row(executable, client, "server_port", port(client))] = opened
	}
	know("Who talks to a service for the first time?", 0, fresh)
	know("How many connections have no known process?", .15, map[string]float64{row(): inFlight / established(t)})

	know("What does the receiver cost?", .3, map[string]float64{row(): (cpuTime(t, q.c.PID) - q.cpu).Seconds() / fiveMinutes})
	own := truths["What does the receiver cost?"]
	own.scraped = true
	truths["What does the receiver cost?"] = own
	return truths
}

// plays reports whether a row of an answer is of the cast: the rest is of the
// collector, of Prometheus, of this test, and of what tests before have left behind,
// which no process holds any more.
func (q *questionCast) plays(row string) bool {
	if strings.Contains(row, "process_executable_name=") {
		return strings.Contains(row, `process_executable_name="q-`)
	}
	if strings.Contains(row, "tcp_end_cause=") {
		return false // of the cast, all of these have a process
	}
	has := func(port uint16) bool {
		return strings.Contains(row, fmt.Sprintf("_port=%q", strconv.Itoa(int(port))))
	}
	for _, l := range q.ports {
		if has(l.Local.Port()) {
			return true
		}
	}
	return !strings.Contains(row, "_port=") || slices.ContainsFunc(q.losers, has)
}

func row(pairs ...any) string {
	labels := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		labels[pairs[i].(string)] = fmt.Sprint(pairs[i+1])
	}
	return sample("", labels)
}
