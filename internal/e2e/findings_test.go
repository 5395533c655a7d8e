// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// detectAll has all detectors run, with times that a test can wait for: the first two
// seconds learn, and a beacon need not last for five minutes.
const detectAll = "peers: {dns: {enabled: true}}, records: {limit: 0}, detect: {" +
	"enabled: [scan, beacon, dns_tunnel, egress, egress_drift, listener, stall, saturation], " +
	"beacon: {min_duration: 15s}, listener: {learn: 2s}}"

// TestFindings makes trouble of five kinds and more at once. Each is found once, with
// the process behind it; what is a state ends once; and then it is quiet.
func TestFindings(t *testing.T) {
	if !ownNamespace() {
		t.Skip("it wants a network namespace of its own, which root can make")
	}
	home, here := netip.MustParseAddrPort("198.51.100.7:443"), netip.MustParseAddr("192.0.2.10")
	for _, a := range []netip.Addr{home.Addr(), here} {
		out, err := exec.Command("ip", "addr", "add", a.String()+"/32", "dev", "lo").CombinedOutput()
		if err != nil {
			t.Skipf("ip of iproute2 does not add an address: %v %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "addr", "del", a.String()+"/32", "dev", "lo").Run() })
	}
	resolverAt := netip.AddrPortFrom(here, 53)
	server, resolver := startProcess(t, "e2e-home", 0), startProcess(t, "e2e-resolver", 0)
	scanner, implant := startProcess(t, "e2e-scanner", 0), startProcess(t, "e2e-implant", 0)
	asker, backdoor := startProcess(t, "e2e-asker", 0), startProcess(t, "e2e-backdoor", 0)
	slow, client := startProcess(t, "e2e-slow", 0), startProcess(t, "e2e-client", 0)
	reader, writer := startProcess(t, "e2e-reader", 0), startProcess(t, "e2e-writer", 0)

	// What is there before the collector is no news.
	call[struct{}](t, server, "Greet", home)
	call[struct{}](t, resolver, "Resolve", resolverAt)
	full := slow.Listen(t, ListenArgs{At: loopback, Backlog: 1})
	pipe := reader.Listen(t, ListenArgs{At: loopback, Backlog: 4})
	path := public(t, "findings.jsonl")
	c := startCollectorWith(t, every("500ms", detectAll), 0, fileExporter(path), bothPipelines)
	best := c.best(t)
	began := time.Now()
	if best == "procfs" {
		t.Skip("the best source is procfs, which sees no attempts, no windows and no short connections")
	}
	c.await(t, "no scrape", func() bool {
		_, ok := c.Telemetry(t)[sample(ownPrefix+"sockets", map[string]string{"source": best})]
		return ok
	})

	call[struct{}](t, implant, "Beacon", BeaconArgs{From: here, To: home, Every: time.Second, Size: 200})
	call[struct{}](t, asker, "Ask", AskArgs{To: resolverAt, Queries: 2})
	require.Equal(t, 20, call[int](t, scanner, "Scan", ScanArgs{loopback.Addr(), 20}))
	for range 2 { // all that wait in a queue of 1
		client.Connect(t, ConnectArgs{To: full.Local})
	}
	flow := connect(t, writer, pipe, ConnectArgs{})
	const flood = 16 << 20 // more than both buffers take
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = writer.client.Call("Holder.Send", Amount{flow.Client.Socket, flood}, nil)
	}()
	call[struct{}](t, resolver, "Mute", true)
	call[struct{}](t, asker, "Ask", AskArgs{To: resolverAt, Queries: 10, First: 100})
	time.Sleep(time.Until(began.Add(4 * time.Second))) // the listeners are learned
	listener := backdoor.Listen(t, ListenArgs{At: loopback, Backlog: 4})

	is := func(p *Process, rule string) string { return fmt.Sprintf("%s %s %d", rule, p.Executable, p.PID) }
	nobody := func(rule string) string { return rule + " <nil> <nil>" }
	want := map[string]int{
		is(implant, "beacon"): 1, is(scanner, "scan.outbound"): 1, is(backdoor, "listener"): 1,
		is(slow, "saturation.accept_queue"): 1, is(asker, "saturation.resolver"): 1, is(writer, "stall.zero_window"): 1,
	}
	if best != "bpf" { // its notices do not say whose an attempt was
		delete(want, is(scanner, "scan.outbound"))
		want[nobody("scan.outbound")] = 1
	}
	byID := make(map[string]string)
	found := func() map[string]int {
		all := make(map[string]int)
		for _, r := range readRecords(t, path) {
			if r.EventName() != "tcp.finding" {
				continue
			}
			what := fmt.Sprint(r.attrs["security_rule.name"], " ", r.of["process.executable.name"], " ", r.of["process.pid"])
			id := r.attrs["tcp.finding.id"].(string)
			if r.attrs["tcp.finding.ended"] == true {
				what = "end of " + byID[id]
			} else {
				byID[id] = what
			}
			all[what]++
		}
		return all
	}
	finds := func(want map[string]int) {
		t.Helper()
		for deadline := time.Now().Add(2 * patience); !assert.ObjectsAreEqual(want, found()) && time.Now().Before(deadline); {
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, want, found())
	}
	finds(want)

	for range 2 {
		full.Accept(t)
	}
	flow.Server.Receive(t, flood)
	<-sent
	call[struct{}](t, resolver, "Mute", false)
	call[struct{}](t, asker, "Ask", AskArgs{To: resolverAt, Queries: 20, First: 200})
	for _, state := range []string{is(slow, "saturation.accept_queue"), is(asker, "saturation.resolver"), is(writer, "stall.zero_window")} {
		want["end of "+state] = 1
	}
	finds(want)
	time.Sleep(3 * time.Second)
	require.Equal(t, want, found(), "it is quiet afterwards, while the implant goes on")
	for _, r := range readRecords(t, path) {
		switch r.attrs["security_rule.name"] {
		case "beacon":
			assert.Equal(t, []any{home.String()}, r.attrs["tcp.finding.peers"])
			assert.InDelta(t, 1, r.attrs["tcp.finding.interval"], 0.2)
			assert.GreaterOrEqual(t, r.attrs["tcp.finding.score"], r.attrs["tcp.finding.score.threshold"])
		case "listener":
			assert.Equal(t, int64(listener.Local.Port()), r.attrs["server.port"])
		case "saturation.resolver":
			assert.Equal(t, resolverAt.String(), r.attrs["tcp.finding.subject"])
		}
	}
	t.Logf("%s, %s", best, time.Since(began).Round(time.Second))
}
