// SPDX-License-Identifier: Apache-2.0

package route

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// The flags of a route (route(8), <linux/route.h>, <linux/ipv6_route.h>).
const (
	flagUp      = 0x0001
	flagGateway = 0x0002
	flagReject  = 0x0200
	flagCache   = 0x01000000
	flagLocal   = 0x80000000
)

// errTooMany says that a table is that of a router.
var errTooMany = fmt.Errorf("more than %d routes", maxRoutes)

// Read reads the routes of the network namespace that dir shows, such as /proc/net. A
// host without IPv6 has no ipv6_route.
func Read(dir string) (Table, error) {
	var all []entry
	for _, file := range [...]struct {
		name  string
		parse func(line string) (entry, bool)
	}{{"route", parse4}, {"ipv6_route", parse6}} {
		f, err := os.Open(dir + "/" + file.name)
		if file.name == "ipv6_route" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Table{}, fmt.Errorf("read routes: %w", err)
		}
		all, err = read(all, f, file.parse)
		f.Close() // was only read: there is nothing to lose
		if err != nil {
			return Table{}, fmt.Errorf("read routes in %s/%s: %w", dir, file.name, err)
		}
	}
	return newTable(all), nil
}

// read adds the routes of a file. Lines that are none, such as the header, are passed
// over.
func read(all []entry, r io.Reader, parse func(string) (entry, bool)) ([]entry, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		one, ok := parse(lines.Text())
		if !ok {
			continue
		}
		if len(all) >= maxRoutes {
			return nil, errTooMany
		}
		all = append(all, one)
	}
	return all, lines.Err()
}

// parse4 parses a line of route (net/ipv4/fib_trie.c fib_route_seq_show). Addresses are
// the CPU's numbers of what is in network byte order.
//
//	Iface Destination Gateway Flags RefCnt Use Metric Mask …
func parse4(line string) (entry, bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return entry{}, false
	}
	to, ok1 := number(f[1], 16)
	gateway, ok2 := number(f[2], 16)
	flags, ok3 := number(f[3], 16)
	metric, ok4 := number(f[6], 10)
	mask, ok5 := number(f[7], 16)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || flags&flagUp == 0 || flags&flagReject != 0 {
		return entry{}, false
	}
	one := entry{prefix: netip.PrefixFrom(address4(to), bits.OnesCount32(mask)).Masked(), metric: metric}
	if flags&flagGateway != 0 {
		one.gateway = address4(gateway)
	}
	return one, true
}

func number(text string, base int) (uint32, bool) {
	n, err := strconv.ParseUint(text, base, 32)
	return uint32(n), err == nil
}

func address4(n uint32) netip.Addr {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// parse6 parses a line of ipv6_route (net/ipv6/route.c rt6_info_route /
// ipv6_route_native_seq_show).
//
//	destination length source length next-hop metric refcount use flags interface
func parse6(line string) (entry, bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return entry{}, false
	}
	to, ok1 := address6(f[0])
	length, ok2 := number(f[1], 16)
	source, ok3 := number(f[3], 16)
	gateway, ok4 := address6(f[4])
	metric, ok5 := number(f[5], 16)
	flags, ok6 := number(f[8], 16)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || length > 128 || source != 0 ||
		flags&flagUp == 0 || flags&(flagReject|flagLocal|flagCache) != 0 {
		return entry{}, false
	}
	one := entry{prefix: netip.PrefixFrom(to, int(length)).Masked(), metric: metric}
	if flags&flagGateway != 0 {
		if gateway.IsLinkLocalUnicast() {
			gateway = gateway.WithZone(f[9])
		}
		one.gateway = gateway
	}
	return one, true
}

func address6(text string) (netip.Addr, bool) {
	var b [16]byte
	if len(text) != 2*len(b) {
		return netip.Addr{}, false
	}
	if _, err := hex.Decode(b[:], []byte(text)); err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(b), true
}
