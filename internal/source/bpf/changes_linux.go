// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// changes are the changes of what the program over connections that end keeps with
// them, from one dump to the next.
type changes struct {
	ring   *ringbuf.Reader
	record ringbuf.Record // reused
	untold *ebpf.Variable
	lost   uint64 // that untold had said
}

// newChanges reads the changes beside the ends.
func newChanges(c *closes) (*changes, error) {
	ring, err := ringbuf.NewReader(c.objects.Changes)
	if err != nil {
		return nil, fmt.Errorf("open the ring of changes of connections: %w", err)
	}
	return &changes{ring: ring, untold: c.objects.Untold}, nil
}

// any reports whether there are changes to read.
func (c *changes) any() bool { return c != nil && c.ring.AvailableBytes() > 0 }

// drain visits the changes that are there. complete reports that none was lost since
// the last call.
func (c *changes) drain(visit func([]byte) error) (complete bool, err error) {
	// What is there is read at once; and no more than that, however fast more comes.
	c.ring.SetDeadline(time.Now())
	for rest := c.ring.AvailableBytes(); rest > 0; rest -= changeLen + 8 {
		err := c.ring.ReadInto(&c.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err == nil {
			err = visit(c.record.RawSample)
		}
		if err != nil {
			return false, fmt.Errorf("read changes of connections: %w", err)
		}
	}
	var lost uint64
	if err := c.untold.Get(&lost); err != nil {
		// The watch of ends was closed, and its program with it: nothing changes any more,
		// nor is anything kept anew.
		return false, nil
	}
	complete = lost == c.lost
	c.lost = lost
	return complete, nil
}

// end gives the ring back.
func (c *changes) end() error {
	if c == nil {
		return nil
	}
	return c.ring.Close()
}
