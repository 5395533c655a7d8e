// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxFileSize bounds what is kept of a file with counters. The longest, netstat,
// has some 6 KiB.
const maxFileSize = 256 << 10

// CounterReader reads the system-wide counters of one network namespace. It is
// used by one goroutine at a time.
type CounterReader struct {
	files [numFiles]counterFile
	ports string // the file with the range of ephemeral ports; "": none
	buf   []byte
	// last has what was last returned of counters that are a difference.
	last [tcp.NumCounters]uint64
}

// counterFile is one file and those of its numbers that a recipe wants.
type counterFile struct {
	path    string
	parse   func(text []byte, prefix string, found func(name, value []byte)) error
	prefix  string // of the lines of TCP
	grows   bool   // the numbers are counters
	numbers map[string]*number
}

// number is one of the kernel's numbers.
type number struct {
	present bool   // in the last read
	raw     uint64 // as last read
	wrapped uint64 // what it lost by being 32 bits wide
}

// NewCounters returns a reader of dir's snmp, netstat and sockstat: dir is
// [DefaultDir], or /proc/<pid>/net for another process's namespace.
func NewCounters(dir string) *CounterReader {
	r := &CounterReader{
		files: [numFiles]counterFile{
			snmp:     {path: dir + "/snmp", parse: parseTable, prefix: "Tcp:", grows: true},
			netstat:  {path: dir + "/netstat", parse: parseTable, prefix: "TcpExt:", grows: true},
			sockstat: {path: dir + "/sockstat", parse: parsePairs, prefix: "TCP:"},
		},
		buf: make([]byte, 16<<10),
	}
	if dir == DefaultDir {
		r.ports = portRange
	}
	for i := range r.files {
		r.files[i].numbers = make(map[string]*number)
	}
	for _, recipe := range recipes {
		for _, names := range [][]string{recipe.add, recipe.sub} {
			for _, name := range names {
				r.files[recipe.file].numbers[name] = new(number)
			}
		}
	}
	return r
}

// Read returns the counters that this kernel has. With an error, which names
// each file that could not be read or understood, it returns those of the other
// files.
//
// Counters that grow never fall from one Read to the next: numbers 32 bits wide
// are unwrapped, and a difference of two that the kernel does not read at the
// same moment stays where it was rather than dip.
func (r *CounterReader) Read(ctx context.Context) (tcp.Counters, error) {
	var errs []error
	for i := range r.files {
		f := &r.files[i]
		for _, n := range f.numbers {
			n.present = false
		}
		err := ctx.Err()
		if err == nil {
			err = r.read(f)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("TCP counters in %s: %w", f.path, err))
		}
	}
	counters := r.cook()
	if r.ports != "" && ctx.Err() == nil {
		errs = append(errs, r.readPorts(&counters))
	}
	return counters, errors.Join(errs...)
}

func (r *CounterReader) read(f *counterFile) error {
	var text []byte
	var err error
	if text, r.buf, err = slurp(f.path, r.buf); err != nil {
		return err
	}
	return f.take(text)
}

// slurp reads all of a file into buf, which must have room for something and is
// returned longer if the file wants it.
func slurp(path string, buf []byte) (text, longer []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, buf, err
	}
	defer f.Close()
	for n := 0; ; {
		if n == len(buf) {
			if n >= maxFileSize {
				return nil, buf, fmt.Errorf("longer than %d bytes", maxFileSize)
			}
			buf = append(buf, make([]byte, n)...)
		}
		got, err := f.Read(buf[n:])
		n += got
		if err == io.EOF {
			return buf[:n], buf, nil
		}
		if err != nil {
			return nil, buf, err
		}
	}
}

// take sets the file's numbers. A number that is none costs only itself.
func (f *counterFile) take(text []byte) error {
	var errs []error
	err := f.parse(text, f.prefix, func(name, value []byte) {
		n, wanted := f.numbers[string(name)]
		if !wanted {
			return
		}
		v, ok := parseDecimal(value)
		if !ok {
			errs = append(errs, fmt.Errorf("%s is %q, not a number", name, value))
			return
		}
		n.set(v, f.grows)
	})
	return errors.Join(append(errs, err)...)
}

// set takes a number as read. Counters are unsigned long in the kernel
// (include/net/snmp.h), so 32 bits wide on some hosts and soon back at 0; a
// kernel never sets one back for any other reason.
func (n *number) set(raw uint64, grows bool) {
	if grows && raw < n.raw && n.raw <= math.MaxUint32 && n.raw-raw > math.MaxUint32/2 {
		n.wrapped += 1 << 32
	}
	n.raw, n.present = raw, true
}

// cook makes the counters of the numbers.
func (r *CounterReader) cook() tcp.Counters {
	var counters tcp.Counters
	for i := range recipes {
		recipe := &recipes[i]
		numbers := r.files[recipe.file].numbers
		v, ok := sum(numbers, recipe.add)
		if !ok {
			continue
		}
		if len(recipe.sub) > 0 {
			less, ok := sum(numbers, recipe.sub)
			if !ok {
				continue
			}
			v = max(v-min(v, less), r.last[recipe.counter])
			r.last[recipe.counter] = v
		}
		if recipe.pages {
			v *= uint64(os.Getpagesize())
		}
		counters.Set(recipe.counter, v)
	}
	return counters
}

// sum tells whether all names are present, too.
func sum(numbers map[string]*number, names []string) (total uint64, ok bool) {
	for _, name := range names {
		n := numbers[name]
		if !n.present {
			return 0, false
		}
		total += n.wrapped + n.raw
	}
	return total, true
}
