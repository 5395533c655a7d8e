// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Dir and ConntrackDir are where Linux shows the numbers of the calling thread's
// network namespace, and its limit of tracked connections.
const (
	Dir          = "/proc/thread-self/net"
	ConntrackDir = "/proc/sys/net/netfilter"
)

// names are those of the numbers in snmp, with the protocol before it: RFC 4293's and
// RFC 4113's, as in net/ipv4/proc.c and net/ipv6/proc.c.
var names = map[string]Number{
	"UdpInDatagrams": UDPReceived, "UdpOutDatagrams": UDPSent, "UdpNoPorts": UDPNoPort,
	"UdpRcvbufErrors": UDPReceiveBuffer, "UdpSndbufErrors": UDPSendBuffer, "UdpInCsumErrors": UDPChecksum,
	"IpInReceives": IPReceived, "IpOutRequests": IPSent, "IpInDiscards": IPReceiveDrops, "IpOutDiscards": IPSendDrops,
	"IpOutNoRoutes": IPNoRoutes, "IpFragFails": IPFragmentationFailures, "IpReasmFails": IPReassemblyFailures,
	"IcmpInMsgs": ICMPReceived, "IcmpOutMsgs": ICMPSent, "IcmpInErrors": ICMPReceiveErrors, "IcmpOutErrors": ICMPSendErrors,
	"IcmpInDestUnreachs": ICMPUnreachablesReceived, "IcmpOutDestUnreachs": ICMPUnreachablesSent,
}

// ReadProcfs returns what is wanted of what Linux counts. With an error, which names
// each file that could not be understood, it returns the rest. What the host does not
// have is no error.
func ReadProcfs(dir, conntrackDir string, want Parts) (Numbers, error) {
	var n Numbers
	var errs []error
	for _, file := range []struct {
		part  Parts
		name  string
		parse func(text []byte, n *Numbers) error
	}{{Protocols, "snmp", parseSNMP}, {Protocols, "snmp6", parseSNMP6}, {Queues, "softnet_stat", parseSoftnet}, {Interfaces, "dev", parseInterfaces}} {
		if want&file.part == 0 {
			continue
		}
		path := filepath.Join(dir, file.name)
		text, err := os.ReadFile(path)
		if err == nil {
			err = file.parse(text, &n)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read %s: %w", path, err))
		}
	}
	if want&Tracking != 0 {
		conntrack, err := readConntrack(conntrackDir)
		if err != nil {
			errs = append(errs, err)
		}
		n.Conntrack = conntrack
	}
	return n, errors.Join(errs...)
}

// parseSNMP reads pairs of lines: names and numbers, both after the protocol.
func parseSNMP(text []byte, n *Numbers) error {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		header := strings.Fields(lines.Text())
		if !lines.Scan() {
			return errors.New("the last line has no numbers")
		}
		numbers := strings.Fields(lines.Text())
		if len(header) == 0 || len(numbers) != len(header) || numbers[0] != header[0] {
			return fmt.Errorf("%d names and %d numbers do not belong together", len(header), len(numbers))
		}
		protocol := strings.TrimSuffix(header[0], ":")
		for i := range header[1:] {
			if err := n.take(IPv4, protocol+header[i+1], numbers[i+1]); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// parseSNMP6 reads lines of a name, with the protocol and a 6 before it, and a number.
func parseSNMP6(text []byte, n *Numbers) error {
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return fmt.Errorf("%q is not a name and a number", line)
		}
		for _, protocol := range []string{"Udp", "Icmp", "Ip"} {
			if name, ok := strings.CutPrefix(fields[0], protocol+"6"); ok {
				if err := n.take(IPv6, protocol+name, fields[1]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// take sets a number, if it is one of those that are wanted.
func (n *Numbers) take(family Family, name, text string) error {
	number, wanted := names[name]
	if !wanted {
		return nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	n.Set(family, number, v)
	return nil
}

// parseSoftnet adds up the lines of all CPUs: hexadecimal numbers, of which the
// second are drops and the third squeezes (net/core/net-procfs.c softnet_seq_show).
func parseSoftnet(text []byte, n *Numbers) error {
	all := Softnet{HasSqueezes: true}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return fmt.Errorf("%q has no third number", line)
		}
		drops, err := strconv.ParseUint(fields[1], 16, 64)
		if err != nil {
			return err
		}
		squeezes, err := strconv.ParseUint(fields[2], 16, 64)
		if err != nil {
			return err
		}
		all.Drops += drops
		all.Squeezes += squeezes
	}
	n.Softnet = &all
	return nil
}

// Positions after the interface's name in /proc/net/dev (net/core/net-procfs.c
// dev_seq_printf_stats).
const (
	receiveErrors, receiveDrops = 2, 3
	sendErrors, sendDrops       = 10, 11
	devFields                   = 16
)

// parseInterfaces reads a line for each interface, after two with headings.
func parseInterfaces(text []byte, n *Numbers) error {
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ':') // a name may have one
		if at < 0 {
			continue // a heading
		}
		fields := strings.Fields(line[at+1:])
		if len(fields) < devFields {
			return fmt.Errorf("%q has %d numbers, not %d", line, len(fields), devFields)
		}
		in := Interface{Name: strings.TrimSpace(line[:at])}
		for i, to := range map[int]*uint64{
			receiveErrors: &in.Errors[0], receiveDrops: &in.Drops[0], sendErrors: &in.Errors[1], sendDrops: &in.Drops[1],
		} {
			v, err := strconv.ParseUint(fields[i], 10, 64)
			if err != nil {
				return fmt.Errorf("interface %s: %w", in.Name, err)
			}
			*to = v
		}
		n.Interfaces = append(n.Interfaces, in)
	}
	return nil
}

// readConntrack returns nil where connections are not tracked.
func readConntrack(dir string) (*Conntrack, error) {
	var c Conntrack
	for name, to := range map[string]*uint64{"nf_conntrack_count": &c.Usage, "nf_conntrack_max": &c.Limit} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err == nil {
			*to, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return &c, nil
}
