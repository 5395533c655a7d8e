// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// SS is a TCP socket as `ss` shows it.
type SS struct {
	Tuple        Tuple // as on the wire; a listener's peer has port 0
	State        string
	RecvQ, SendQ float64
	PIDs         []int
	// Values are what it shows as key:value or "key value", the unit left off.
	// Of values with a slash or in parentheses, each part is named: rtt and
	// rtt/1, skmem.rb. ss leaves out most of what is 0.
	Values map[string]float64
}

// ss lists all TCP sockets.
func ss(t *testing.T) []SS {
	t.Helper()
	// All, TCP, numeric, with tcp_info, memory and processes, one line for each.
	out, err := exec.Command("ss", "-atnimpeOH").Output()
	require.NoError(t, err)
	var sockets []SS
	for line := range strings.Lines(string(out)) {
		s, err := parseSS(line)
		require.NoError(t, err, line)
		sockets = append(sockets, s)
	}
	return sockets
}

// ssStates are the values of network.connection.state by ss's names.
var ssStates = map[string]string{
	"LISTEN": "listen", "ESTAB": "established", "SYN-SENT": "syn_sent", "SYN-RECV": "syn_received",
	"FIN-WAIT-1": "fin_wait_1", "FIN-WAIT-2": "fin_wait_2", "TIME-WAIT": "time_wait", "UNCONN": "closed",
	"CLOSE-WAIT": "close_wait", "LAST-ACK": "last_ack", "CLOSING": "closing",
}

var (
	ssPID    = regexp.MustCompile(`,pid=(\d+),`)
	ssMember = regexp.MustCompile(`^([a-z]+)(\d+)$`)
	ssNumber = regexp.MustCompile(`^[0-9.]+(e[+-]?\d+)?`)
)

func parseSS(line string) (SS, error) {
	words := strings.Fields(line)
	if len(words) < 5 {
		return SS{}, fmt.Errorf("%d words", len(words))
	}
	s := SS{State: ssStates[words[0]], Values: make(map[string]float64)}
	if s.State == "" {
		return SS{}, fmt.Errorf("state %s", words[0])
	}
	var errs [4]error
	s.RecvQ, errs[0] = strconv.ParseFloat(words[1], 64)
	s.SendQ, errs[1] = strconv.ParseFloat(words[2], 64)
	s.Tuple.Local, errs[2] = parseSSEndpoint(words[3])
	s.Tuple.Peer, errs[3] = parseSSEndpoint(words[4])
	for _, err := range errs {
		if err != nil {
			return SS{}, err
		}
	}
	// Of a connection it shows the zone at one end only.
	if peer := s.Tuple.Peer.Addr(); peer.IsLinkLocalUnicast() && s.Tuple.Peer.Port() != 0 {
		s.Tuple.Peer = netip.AddrPortFrom(peer.WithZone(s.Tuple.Local.Addr().Zone()), s.Tuple.Peer.Port())
	}
	for _, m := range ssPID.FindAllStringSubmatch(line, -1) {
		pid, _ := strconv.Atoi(m[1])
		s.PIDs = append(s.PIDs, pid)
	}
	for i, word := range words[5:] {
		key, value, ok := strings.Cut(word, ":")
		if !ok {
			// "send 192238933333bps"
			if i > 0 && !strings.Contains(words[5+i-1], ":") && ssNumber.MatchString(word) {
				s.put(words[5+i-1], word)
			}
			continue
		}
		if inner, ok := strings.CutPrefix(value, "("); ok {
			for _, member := range strings.Split(strings.TrimSuffix(inner, ")"), ",") {
				if m := ssMember.FindStringSubmatch(member); m != nil {
					s.put(key+"."+m[1], m[2])
				}
			}
			continue
		}
		for i, part := range strings.Split(value, "/") {
			if i > 0 {
				key = fmt.Sprintf("%s/%d", key, i)
			}
			s.put(key, part)
		}
	}
	return s, nil
}

func (s *SS) put(key, value string) {
	if n, err := strconv.ParseFloat(ssNumber.FindString(value), 64); err == nil {
		s.Values[key] = n
	}
}

// parseSSEndpoint reads 127.0.0.1:80, [::1]:80, [fe80::1]%lo:80, [::ffff:127.0.0.1]:80,
// *:80 (any address of either family), 0.0.0.0:*.
func parseSSEndpoint(text string) (netip.AddrPort, error) {
	i := strings.LastIndex(text, ":")
	host, port := text[:max(0, i)], text[i+1:]
	if port == "*" {
		port = "0"
	}
	if host == "*" {
		host = "::"
	}
	host = strings.NewReplacer("[", "", "]", "").Replace(host)
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), err
}
