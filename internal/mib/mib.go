// SPDX-License-Identifier: Apache-2.0

// Package mib reads FreeBSD's sysctl(3) variables, those above all whose
// length nobody knows beforehand: lists of sockets, descriptors, processes.
//
// The buffer of a [Variable] is used again and again, which sysctl's wrappers
// in golang.org/x/sys/unix cannot do: they make one for each read, and a list
// of a hundred thousand sockets has 74 MB.
package mib

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// maxReads is how often a list is read that keeps outgrowing its buffer. The
// room at least doubles every second time.
const maxReads = 16

// maxLength bounds what is asked of the kernel, and what a wrong answer of its
// own can make us allocate: a million sockets, or eight million descriptors.
const maxLength = 1 << 30

// slack is what a buffer may be larger than a list needs: an eighth of the list
// in it is enough to keep it.
const slack = 1 << 20

// wired is what else ENOMEM may mean (sysctl_wire_old_buffer in
// sys/kern/kern_sysctl.c).
const wired = "the kernel holds them in memory while it writes: if there are not so many, raise vm.max_user_wired"

// Variable is a sysctl variable. It is used by one goroutine at a time.
type Variable struct {
	name string
	buf  []byte
	// call asks the kernel for the variable. It returns how many bytes it has
	// written, or, of a nil buffer, how many there may be. With ENOMEM they did
	// not fit.
	call func(dst []byte) (n int, err error)
}

// Read returns the variable as it is now, good until the next Read. The error
// names the variable.
func (v *Variable) Read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sysctl %s cut short: %w", v.name, err)
	}
	if len(v.buf) == 0 {
		if err := v.grow(); err != nil {
			return nil, err
		}
	}
	for range maxReads {
		n, err := v.call(v.buf)
		switch {
		case err == nil && n <= len(v.buf):
			got := v.buf[:n]
			if len(v.buf) > slack && n < len(v.buf)/8 {
				v.buf = nil // what a burst of connections took
			}
			return got, nil
		case err == nil:
			return nil, fmt.Errorf("sysctl %s: the kernel says %d bytes for a buffer of %d", v.name, n, len(v.buf))
		case !errors.Is(err, syscall.ENOMEM):
			return nil, fmt.Errorf("sysctl %s: %w", v.name, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("sysctl %s cut short: %w", v.name, err)
		}
		if err := v.grow(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("sysctl %s: %w, though there was room for %d bytes (%s)", v.name, syscall.ENOMEM, len(v.buf), wired)
}

// grow makes room for as much as the kernel says there is, and some more: what
// is listed can become more between two calls.
func (v *Variable) grow() error {
	n, err := v.call(nil)
	if err != nil {
		return fmt.Errorf("sysctl %s: asking for its length: %w", v.name, err)
	}
	want := n + n/8 + 512
	if want <= len(v.buf) {
		want = 2 * len(v.buf)
	}
	if n < 0 || want > maxLength {
		return fmt.Errorf("sysctl %s: %d bytes are more than the %d that are read at most (%s)", v.name, want, maxLength, wired)
	}
	v.buf = make([]byte, want)
	return nil
}
