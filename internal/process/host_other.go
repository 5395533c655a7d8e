// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !freebsd

package process

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// BootTime returns when the host was started.
func BootTime() (time.Time, error) {
	return time.Time{}, fmt.Errorf("read the boot time on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Remedy says what it takes to find the owner of every socket.
const Remedy = "process attribution is not supported on " + runtime.GOOS

// stamp is what tells one process from another.
type stamp = procStamp

// host is an operating system without process attribution: opening it succeeds, so
// that sockets are shown without owners.
type host struct{}

func openHost(string) (*host, error) { return &host{}, nil }

func (*host) close() error { return nil }

func (*host) private() bool { return false }

// release and reserve are for the descriptors of procfs.
func (*host) release() bool { return false }
func (*host) reserve()      {}

// place is where a process is found.
type place struct{}

func (*host) place(int32) place { return place{} }

func (*host) stamp(place) (stamp, error) { return stamp{}, errGone }

func (*host) describe(place, *stamp) (Process, uint32, error) { return Process{}, 0, errGone }

func (*Resolver) probe(context.Context, time.Time, []Owner, *Stats) error { return nil }

func (*Resolver) passOver(int32, error, *Stats) error { return nil }

func (*Resolver) walk(context.Context, time.Time, *Stats) error {
	return fmt.Errorf("owners of sockets on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
