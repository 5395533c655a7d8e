// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"strings"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxSocketLink is the longest target of a socket's descriptor, a 64-bit
// inode's, and one byte to tell a longer link from it. Whatever else a
// descriptor points to may be cut there.
const maxSocketLink = len("socket:[18446744073709551615]") + 1

// parseSocketLink returns the inode in the target of a descriptor's link,
// "socket:[42]" (sockfs_dname in net/socket.c). ok is false for links to
// anything else.
func parseSocketLink(target []byte) (inode uint64, ok bool) {
	const prefix = "socket:["
	if len(target) <= len(prefix) || string(target[:len(prefix)]) != prefix || target[len(target)-1] != ']' {
		return 0, false
	}
	return parseUint(target[len(prefix) : len(target)-1])
}

// executableName returns the file name in the path of a program, "" where it has
// none.
func executableName(path []byte) string {
	return tcp.FileName(path[bytes.LastIndexByte(path, '/')+1:])
}

// commandName returns argv[0] of /proc/pid/cmdline, in which a NUL ends each
// argument. A process that writes a title over its arguments is known by that
// title.
func commandName(cmdline []byte) string {
	name, _, whole := bytes.Cut(cmdline, []byte{0})
	if !whole {
		name = tcp.WithoutPart(name) // it was longer than the buffer
	}
	return text(name)
}

// text makes a string of a name that a process chose. OTLP takes UTF-8 only.
func text(b []byte) string {
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
