// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Rows of /top, if the request does not say, and at most.
const (
	topRows    = 40
	maxTopRows = 1000
)

// top is the busiest connections as text, for `watch -c curl -s .../top?color`. n
// is the number of rows.
func (p *Page) top(r *http.Request, n *snapshot) (string, []byte) {
	query := r.URL.Query()
	rows := topRows
	if asked, err := strconv.Atoi(query.Get("n")); err == nil && asked > 0 {
		rows = min(asked, maxTopRows)
	}
	paint := func(_, text string) string { return text }
	if query.Has("color") {
		paint = func(code, text string) string { return "\x1b[" + code + "m" + text + "\x1b[0m" }
	}
	busiest := make([]*row, 0, len(n.rows))
	for i := range n.rows {
		busiest = append(busiest, &n.rows[i])
	}
	slices.SortFunc(busiest, func(a, b *row) int {
		return cmp.Or(cmp.Compare(b.out+b.in, a.out+a.in), cmp.Compare(b.BytesSent+b.BytesReceived, a.BytesSent+a.BytesReceived), a.Peer.Compare(b.Peer), a.Local.Compare(b.Local))
	})
	var b strings.Builder
	t := n.point
	fmt.Fprintf(&b, "tcpstats - %s  %s  source %s, scrape %.1f ms\n", printable(n.status.Host), n.time.Format(time.TimeOnly), n.status.Source, n.status.TookMilliseconds)
	fmt.Fprintf(&b, "Connections: %d total, %d established, %d listening, %d time-wait\n",
		t.Connections, t.States[tcp.Established.String()], len(n.listeners), t.States[tcp.TimeWait.String()])
	fmt.Fprintf(&b, "Traffic: %s out, %s in   opened %.1f/s, failed %.1f/s   RTT median %s, p99 %s\n\n",
		bytesPerSecond(t.Out), bytesPerSecond(t.In), t.Opens, t.Failures, roundTrip(t.RTTMedian), roundTrip(t.RTTP99))
	b.WriteString(paint("7", fmt.Sprintf("%-20s %-6s %-26s %-12s %10s %10s %9s %8s", "PROCESS", "ROLE", "PEER", "STATE", "OUT", "IN", "RTT", "RETRANS")) + "\n")
	for _, r := range busiest[:min(rows, len(busiest))] {
		name := "?"
		if r.process != nil {
			name = printable(r.process.Executable)
		}
		peer := r.Peer.String()
		if named := peerName(&r.Connection); named != "" {
			peer = printable(named) + ":" + number(r.Peer.Port())
		}
		if r.Role == tcp.Server {
			peer += " :" + strconv.Itoa(int(r.Local.Port()))
		}
		var rtt *int64
		if r.Has(tcp.FieldSmoothedRTT) {
			us := r.SmoothedRTT.Microseconds()
			rtt = &us
		}
		again, code := "-", ""
		if part, ok := retransmitted(r); ok {
			again = fmt.Sprintf("%.1f %%", 100*part)
			if part > 0.01 {
				code = "33"
			}
		}
		line := fmt.Sprintf("%s %-6s %s %-12s %10s %10s %9s ", fit(name, 20), r.Role, fit(peer, 26), strings.ReplaceAll(r.State.String(), "_", "-"),
			bytesPerSecond(r.out), bytesPerSecond(r.in), roundTrip(rtt))
		again = fmt.Sprintf("%8s", again)
		if code != "" {
			again = paint(code, again)
		}
		if r.State != tcp.Established {
			line = paint("2", line)
		}
		b.WriteString(line + again + "\n")
	}
	if left := len(busiest) - rows; left > 0 {
		fmt.Fprintf(&b, "... and %d more (?n=%d)\n", left, min(len(busiest), maxTopRows))
	}
	return "text/plain; charset=utf-8", []byte(b.String())
}

// retransmitted is the part of the segments that were sent again.
func retransmitted(r *row) (float64, bool) {
	if !r.Has(tcp.FieldRetransmits) || !r.Has(tcp.FieldSegmentsSent) || r.details.Sample.SegmentsSent == 0 {
		return 0, false
	}
	return min(1, float64(r.Retransmits)/float64(r.details.Sample.SegmentsSent)), true
}

// printable is a name as a terminal may be given it: no control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// fit pads or cuts a text to a width in characters.
func fit(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if n <= width {
		return s + strings.Repeat(" ", width-n)
	}
	return string([]rune(s)[:width-1]) + "…"
}

func bytesPerSecond(v float64) string {
	for _, unit := range []string{"B/s", "kB/s", "MB/s"} {
		if v < 999.5 {
			return short(v) + " " + unit
		}
		v /= 1000
	}
	return short(v) + " GB/s"
}

func short(v float64) string {
	if v < 9.95 && v != 0 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

func roundTrip(us *int64) string {
	switch {
	case us == nil:
		return "-"
	case *us < 1000:
		return strconv.FormatInt(*us, 10) + " us"
	case *us < 1_000_000:
		return short(float64(*us)/1e3) + " ms"
	}
	return short(float64(*us)/1e6) + " s"
}
