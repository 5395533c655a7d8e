// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxLine is the longest line of a log: dns.log has names and answers in one.
const maxLine = 4 << 20

// row is one line of a log by the names of its fields, "" where one is not set.
type row func(field string) string

// readLog calls take with each line of a log.
func readLog(name string, take func(row) error) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open a log: %w", err)
	}
	defer f.Close()
	if err := readFrom(f, take); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// readFrom is readLog of what may be compressed by gzip, whatever its name.
func readFrom(from io.Reader, take func(row) error) error {
	buffered := bufio.NewReaderSize(from, 1<<16)
	in := io.Reader(buffered)
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
		defer unzipped.Close()
		in = unzipped
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<16), maxLine)
	header := tsv{separator: "\t", unset: "-", empty: "(empty)"}
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimRight(lines.Bytes(), "\r")
		var err error
		switch {
		case len(line) == 0:
		case line[0] == '#':
			header.comment(string(line))
		case line[0] == '{':
			err = fromJSON(line, take)
		case header.columns == nil:
			err = errors.New("takes Zeek's logs, TSV with #fields or JSON")
		default:
			err = header.take(string(line), take)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// tsv is what the lines with # say of those without.
type tsv struct {
	separator, unset, empty string
	columns                 map[string]int
	values                  []string // reused
}

func (t *tsv) comment(line string) {
	key, value, _ := strings.Cut(line, t.separator)
	if name, text, ok := strings.Cut(line, " "); ok && name == "#separator" {
		key, value = name, text
	}
	switch key {
	case "#separator":
		if code, ok := strings.CutPrefix(value, `\x`); ok {
			var b byte
			if _, err := fmt.Sscanf(code, "%02x", &b); err == nil {
				t.separator = string(b)
			}
		}
	case "#unset_field":
		t.unset = value
	case "#empty_field":
		t.empty = value
	case "#fields":
		t.columns = make(map[string]int)
		for i, name := range t.split(value) {
			t.columns[name] = i
		}
	}
}

// split splits a line. IoT-23 parts its last columns, the labels, by three spaces.
func (t *tsv) split(line string) []string {
	t.values = t.values[:0]
	for value := range strings.SplitSeq(line, t.separator) {
		for part := range strings.SplitSeq(value, "   ") {
			t.values = append(t.values, part)
		}
	}
	return t.values
}

func (t *tsv) take(line string, take func(row) error) error {
	values := t.split(line)
	return take(func(field string) string {
		at, ok := t.columns[field]
		if !ok || at >= len(values) || values[at] == t.unset || values[at] == t.empty {
			return ""
		}
		return values[at]
	})
}

func fromJSON(line []byte, take func(row) error) error {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return fmt.Errorf("takes a JSON object in each line: %w", err)
	}
	return take(func(field string) string {
		switch v := values[field].(type) {
		case nil:
			return ""
		case string:
			return v
		case []any:
			texts := make([]string, len(v))
			for i := range v {
				texts[i] = fmt.Sprint(v[i])
			}
			return strings.Join(texts, ",")
		default:
			return fmt.Sprint(v)
		}
	})
}
