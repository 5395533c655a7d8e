// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// recording is what the logs have, in the order in which it is played.
type recording struct {
	local    []netip.Prefix
	moments  []moment
	conns    []conn
	queries  []detect.Query
	labelled bool
}

// moment is when something happened: a connection ended, or a query was answered.
type moment struct {
	at      time.Time
	isQuery bool
	index   int
}

const dnsPort = 53

// conn is a line of conn.log.
type conn struct {
	start            time.Time
	duration         time.Duration
	orig, resp       netip.AddrPort
	sent, received   uint64 // by the originator
	established      bool
	continued        bool // it was open before: Zeek saw no handshake
	failure          tcp.Failure
	cause            tcp.Cause
	origLocal, local bool // the originator is local, one of both is
	malicious        bool
}

func newRecording(local []netip.Prefix) *recording { return &recording{local: local} }

// conn takes a line of conn.log.
func (r *recording) conn(get row) error {
	if get("proto") != "tcp" {
		return nil
	}
	var c conn
	var err error
	if c.start, err = parseTime(get("ts")); err != nil {
		return err
	}
	if c.orig, err = parseEndpoint(get("id.orig_h"), get("id.orig_p")); err != nil {
		return fmt.Errorf("id.orig_h: %w", err)
	}
	if c.resp, err = parseEndpoint(get("id.resp_h"), get("id.resp_p")); err != nil {
		return fmt.Errorf("id.resp_h: %w", err)
	}
	if c.duration, err = parseSeconds(get("duration")); err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	if c.sent, err = parseCount(get("orig_bytes")); err != nil {
		return fmt.Errorf("orig_bytes: %w", err)
	}
	if c.received, err = parseCount(get("resp_bytes")); err != nil {
		return fmt.Errorf("resp_bytes: %w", err)
	}
	history := get("history")
	c.established, c.failure, c.cause = outcome(get("conn_state"), history)
	// Zeek begins a new line for a connection that was idle for minutes. The receiver
	// sees one connection, which opened once.
	c.continued = history != "" && !strings.ContainsAny(history, "SsHh")
	c.origLocal = r.isLocal(c.orig.Addr(), get("local_orig"))
	c.local = c.origLocal || r.isLocal(c.resp.Addr(), get("local_resp"))
	if label := get("label"); label != "" {
		r.labelled = true
		c.malicious = strings.EqualFold(label, "malicious")
	}
	r.moments = append(r.moments, moment{at: c.start.Add(c.duration), index: len(r.conns)})
	r.conns = append(r.conns, c)
	return nil
}

// isLocal reports whether an address is this host's. said is what the log says, T or
// F in TSV, true or false in JSON.
func (r *recording) isLocal(a netip.Addr, said string) bool {
	if len(r.local) > 0 {
		return slices.ContainsFunc(r.local, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch said {
	case "T", "true":
		return true
	case "F", "false":
		return false
	}
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback()
}

// outcome is what became of a connection, by Zeek's conn_state and history
// (docs.zeek.org, base/protocols/conn/main.zeek).
func outcome(state, history string) (established bool, failure tcp.Failure, cause tcp.Cause) {
	switch state {
	case "S0":
		return false, tcp.TimedOut, 0
	case "REJ":
		return false, tcp.Refused, 0
	case "RSTOS0", "SH":
		return false, tcp.OtherFailure, 0
	case "RSTO":
		cause = tcp.LocalReset
	case "RSTR":
		cause = tcp.PeerReset
	case "SF":
		cause = tcp.LocalClose
	}
	// A SYN scan answers the SYN-ACK with RST: the originator has sent no ACK, and no
	// data.
	if strings.HasPrefix(history, "S") && strings.Contains(history, "h") && !strings.ContainsAny(history, "ADF") && (state == "RSTO" || state == "S1") {
		return false, tcp.OtherFailure, 0
	}
	return true, tcp.NoFailure, cause
}

// query takes a line of dns.log.
func (r *recording) query(get row) error {
	name := get("query")
	if name == "" {
		return nil
	}
	at, err := parseTime(get("ts"))
	if err != nil {
		return err
	}
	orig, err := parseEndpoint(get("id.orig_h"), get("id.orig_p"))
	if err != nil {
		return fmt.Errorf("id.orig_h: %w", err)
	}
	resp, err := parseEndpoint(get("id.resp_h"), get("id.resp_p"))
	if err != nil {
		return fmt.Errorf("id.resp_h: %w", err)
	}
	if !r.isLocal(orig.Addr(), get("local_orig")) || resp.Port() != dnsPort {
		return nil // such as those of multicast DNS and NetBIOS, which nobody has to answer
	}
	q := detect.Query{At: at, Local: orig.Addr(), Resolver: resp, Name: name}
	for text := range strings.SplitSeq(get("answers"), ",") {
		if a, err := netip.ParseAddr(text); err == nil {
			q.Answers = append(q.Answers, a)
		}
	}
	q.Answered = get("rcode") != "" || get("rcode_name") != "" || len(q.Answers) > 0
	r.moments = append(r.moments, moment{at: at, isQuery: true, index: len(r.queries)})
	r.queries = append(r.queries, q)
	return nil
}

// play plays everything to the detectors of a configuration.
func (r *recording) play(cfg detect.Config, take func(*finding)) (detect.Stats, error) {
	detectors, err := detect.New(cfg, func(f *event.Finding) { take(newFinding(f)) })
	if err != nil {
		return detect.Stats{}, err
	}
	if len(r.local) > 0 {
		detectors.SetHome(func(a netip.Addr) bool { return r.isLocal(a, "") })
	}
	slices.SortStableFunc(r.moments, func(a, b moment) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return cmp.Compare(a.index, b.index)
	})
	for _, m := range r.moments {
		detectors.Reach(m.at)
		if m.isQuery {
			detectors.Queried(&r.queries[m.index])
			continue
		}
		r.conns[m.index].play(detectors, uint64(m.index)+1)
	}
	return detectors.Stats(), nil
}

// play plays one connection, from the side of the host that is local: of the client if
// both are.
func (c *conn) play(to *detect.Detectors, cookie uint64) {
	if !c.local {
		return
	}
	end := c.start.Add(c.duration)
	if !c.origLocal && !c.established {
		to.Attempted(&detect.Attempt{At: end, Local: c.resp, Peer: c.orig})
		return
	}
	it := event.Connection{
		ID: tcp.Identity{Cookie: cookie}, Local: c.orig, Peer: c.resp, Role: tcp.Client, IsNew: true, Traits: &event.Traits{},
		BytesSent: c.sent, BytesReceived: c.received,
		Fields: tcp.Fields(0).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived),
		State:  tcp.Established,
	}
	if !c.origLocal {
		it.Local, it.Peer, it.Role = c.resp, c.orig, tcp.Server
		it.BytesSent, it.BytesReceived = c.received, c.sent
	}
	delta := event.Delta{BytesSent: it.BytesSent, BytesReceived: it.BytesReceived}
	to.Progress(&event.Progress{Connection: &it, Delta: delta, Was: event.NoState, Is: tcp.Established, First: true})
	defer to.Progress(&event.Progress{Connection: &it, Was: tcp.Established, Is: event.NoState, Gone: true})
	if c.continued {
		return
	}
	if c.established {
		to.Opened(&event.Opened{Connection: &it, At: c.start})
	}
	to.Ended(&event.Ended{
		Connection: &it, Established: c.established, Failure: c.failure, Cause: c.cause, At: end, Exact: true, Start: c.start,
	})
}

// maxTime is the latest time of a log, in seconds: the year 2262, the last that fits
// nanoseconds in 64 bits.
const maxTime = math.MaxInt64 / 1e9

// parseTime parses seconds since 1970, or the ISO 8601 of LogAscii::json_timestamps.
func parseTime(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil && t.Unix() >= 0 && float64(t.Unix()) < maxTime {
		return t.UTC(), nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds < maxTime) {
		return time.Time{}, fmt.Errorf("ts: got %q, takes seconds since 1970", text)
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC(), nil
}

// maxDuration is more than any capture lasts.
const maxDuration = 10 * 365 * 24 * 3600

func parseSeconds(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds < maxDuration) {
		return 0, fmt.Errorf("got %q, takes seconds", text)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func parseCount(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("got %q, takes a number", text)
	}
	return n, nil
}

func parseEndpoint(host, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("got %q, takes an address", host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("got port %q, takes a number up to 65535", port)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
