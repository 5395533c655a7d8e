// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"strings"
	"unicode/utf8"
)

// MaxName is the most bytes that the name of a program's file has here, whichever
// source read it: BPF has no room for more, and one program must not have two
// names.
const MaxName = 62

// FileName makes a string of the name of a program's file, which may be any bytes
// (NAME_MAX is 255). All sources name programs with it.
func FileName(b []byte) string { return Name(b, MaxName) }

// Name makes a string of a name of which limit bytes are shown at most, such as
// the kernel's comm. A name of that length may have been cut inside of a
// character: what is left of that character goes. Other bytes that are not UTF-8
// become U+FFFD, since OTLP takes nothing else.
func Name(b []byte, limit int) string {
	if len(b) >= limit {
		b = WithoutPart(b[:limit])
	}
	return strings.ToValidUTF8(string(b), string(utf8.RuneError))
}

// WithoutPart returns b without the first bytes of a character at its end whose
// last bytes are not there.
func WithoutPart(b []byte) []byte {
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if last := b[len(b)-back:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return b[:len(b)-back]
			}
			break
		}
	}
	return b
}
