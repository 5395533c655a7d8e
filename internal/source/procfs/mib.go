// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"fmt"
)

// parseTable reads what snmp and netstat are written in, a line of names and a
// line of as many numbers (net/ipv4/proc.c snmp_seq_show, netstat_seq_show):
//
//	Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens …
//	Tcp: 1 200 120000 -1 36 …
//
// It calls found for each column of the first two lines that begin with prefix.
// If it returns an error it has not called found: with a name or a number too
// few, any number could have the wrong name.
func parseTable(text []byte, prefix string, found func(name, value []byte)) error {
	names, rest, err := findLine(text, prefix)
	if err != nil {
		return err
	}
	line, _, whole := bytes.Cut(rest, []byte{'\n'})
	values, ok := bytes.CutPrefix(line, []byte(prefix))
	if !whole || !ok {
		return fmt.Errorf("the names of %q are not followed by a line of numbers", prefix)
	}
	if n, v := countWords(names), countWords(values); n != v {
		return fmt.Errorf("%q has %d names but %d numbers", prefix, n, v)
	}
	for {
		var name, value []byte
		name, names = cutWord(names)
		value, values = cutWord(values)
		if len(name) == 0 {
			return nil
		}
		found(name, value)
	}
}

// parsePairs reads what sockstat is written in (net/ipv4/proc.c
// sockstat_seq_show):
//
//	TCP: inuse 1 orphan 0 tw 2 alloc 1 mem 221
//
// It calls found for each pair in the first line that begins with prefix. If it
// returns an error it has not called found.
func parsePairs(text []byte, prefix string, found func(name, value []byte)) error {
	pairs, _, err := findLine(text, prefix)
	if err != nil {
		return err
	}
	if n := countWords(pairs); n%2 != 0 {
		return fmt.Errorf("%q has a name without a number in %d words", prefix, n)
	}
	for {
		var name, value []byte
		name, pairs = cutWord(pairs)
		value, pairs = cutWord(pairs)
		if len(name) == 0 {
			return nil
		}
		found(name, value)
	}
}

// findLine returns the first line that begins with prefix, without it and
// without the newline, and what follows the line. A line without a newline was
// cut off, and its last number could be any.
func findLine(text []byte, prefix string) (line, rest []byte, err error) {
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		if after, ok := bytes.CutPrefix(line, []byte(prefix)); ok {
			if !whole {
				return nil, nil, fmt.Errorf("the line of %q is cut off before its end", prefix)
			}
			return after, rest, nil
		}
		text = rest
	}
	return nil, nil, fmt.Errorf("no line begins with %q", prefix)
}

func countWords(line []byte) int {
	n := 0
	for {
		var word []byte
		if word, line = cutWord(line); len(word) == 0 {
			return n
		}
		n++
	}
}

// cutWord returns the first word of a line, empty at its end, and what follows.
func cutWord(line []byte) (word, rest []byte) {
	start := 0
	for start < len(line) && line[start] == ' ' {
		start++
	}
	end := start
	for end < len(line) && line[end] != ' ' {
		end++
	}
	return line[start:end], line[end:]
}
