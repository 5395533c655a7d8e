// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strconv"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/record"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// appendBody appends a record as a line for people:
//
//	curl (4711) → 203.0.113.7:443: 1.2 KiB out, 84 KiB in, 0.31 s, rtt 12 ms, closed by peer
func appendBody(b []byte, r *record.Record) []byte {
	switch {
	case r.Process != nil:
		b = append(b, r.Process.Executable...)
		b = append(b, " ("...)
		b = strconv.AppendInt(b, int64(r.Process.PID), 10)
		b = append(b, ')')
	default:
		b = r.Local.AppendTo(b)
	}
	if r.Role == tcp.Server {
		b = append(b, " ← "...)
	} else {
		b = append(b, " → "...)
	}
	b = append(r.Peer.AppendTo(b), ": "...)
	switch r.Kind {
	case record.Start:
		return append(b, "established"...)
	case record.Failure:
		return append(b, failureText(r.Failure)...)
	}
	begin := len(b)
	separate := func() {
		if len(b) > begin {
			b = append(b, ", "...)
		}
	}
	if r.Has(tcp.FieldBytesSent) {
		b = append(appendBytes(b, r.BytesSent), " out"...)
	}
	if r.Has(tcp.FieldBytesReceived) {
		separate()
		b = append(appendBytes(b, r.BytesReceived), " in"...)
	}
	if r.Duration >= 0 {
		separate()
		b = appendDuration(b, r.Duration)
	}
	if r.Has(tcp.FieldSmoothedRTT) {
		separate()
		b = appendDuration(append(b, "rtt "...), r.SmoothedRTT)
	}
	separate()
	if r.Kind == record.Progress {
		return append(b, "still open"...)
	}
	return append(b, causeText(r.Cause)...)
}

func causeText(c tcp.Cause) string {
	switch c {
	case tcp.LocalClose:
		return "closed here"
	case tcp.PeerClose:
		return "closed by peer"
	case tcp.LocalReset:
		return "reset here"
	case tcp.PeerReset:
		return "reset by peer"
	case tcp.TimeoutCause:
		return "timed out"
	case tcp.Aborted:
		return "aborted"
	}
	return "closed"
}

func failureText(f tcp.Failure) string {
	switch f {
	case tcp.Refused:
		return "connection refused"
	case tcp.Reset:
		return "connection reset during the handshake"
	case tcp.TimedOut:
		return "connecting timed out"
	case tcp.HostUnreachable:
		return "host unreachable"
	case tcp.NetUnreachable:
		return "network unreachable"
	}
	return "not established"
}

// appendBytes appends a number of bytes in the largest unit of which there is one,
// with one decimal below 10.
func appendBytes(b []byte, n uint64) []byte {
	const units = "KMGTPE"
	if n < 1024 {
		return append(strconv.AppendUint(b, n, 10), " B"...)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.5 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	b = append(appendShort(b, value), ' ', units[unit])
	return append(b, "iB"...)
}

// appendDuration appends a time in µs, ms or s, with two digits at least.
func appendDuration(b []byte, d time.Duration) []byte {
	switch {
	case d < time.Millisecond:
		return append(strconv.AppendInt(b, d.Microseconds(), 10), " µs"...)
	case d < 100*time.Millisecond:
		return append(appendShort(b, float64(d)/float64(time.Millisecond)), " ms"...)
	case d < time.Second:
		return append(strconv.AppendFloat(b, d.Seconds(), 'f', 2, 64), " s"...)
	}
	return append(appendShort(b, d.Seconds()), " s"...)
}

func appendShort(b []byte, value float64) []byte {
	decimals := 0
	if value < 9.95 {
		decimals = 1
	}
	return strconv.AppendFloat(b, value, 'f', decimals, 64)
}
