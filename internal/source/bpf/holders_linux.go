// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Holders tells which descriptors of which processes are sockets. It is used by
// one goroutine at a time.
type Holders struct {
	objects holdersObjects
	link    *link.Iter
	buf     []byte
}

// OpenHolders loads the program. Its error says in one line why the folders
// /proc/PID/fd must be read instead.
func OpenHolders() (*Holders, error) {
	if err := inHostPIDs(); err != nil {
		return nil, err
	}
	spec, err := loadHolders()
	if err != nil {
		return nil, fmt.Errorf("read the program over descriptors: %w", err)
	}
	defer btf.FlushKernelSpec()
	h := &Holders{buf: make([]byte, bufferLen)}
	if err := load(spec, &h.objects, nil); err != nil {
		return nil, fmt.Errorf("load the iterator over descriptors: %w", err)
	}
	if h.link, err = link.AttachIter(link.IterOptions{Program: h.objects.DumpHolders}); err != nil {
		return nil, errors.Join(fmt.Errorf("attach the iterator over descriptors: %w", explain(err)), h.objects.Close())
	}
	return h, nil
}

// hostPIDs is the PID namespace that the kernel begins with, PROC_PID_INIT_INO of
// <linux/proc_ns.h>.
const hostPIDs = "pid:[4026531836]"

// inHostPIDs fails in another PID namespace than the host's: programs see the
// host's numbers, which mean other processes there, or none.
func inHostPIDs() error {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return fmt.Errorf("learn the PID namespace: %w", err)
	}
	if own != hostPIDs {
		return fmt.Errorf("the collector is in a PID namespace of its own (hostPID: true in Kubernetes): %w", errors.ErrUnsupported)
	}
	return nil
}

// Each visits every socket among the descriptors of every process, processes and
// descriptors upwards.
func (h *Holders) Each(ctx context.Context, visit func(pid, fd int32, inode uint64) error) error {
	dump, err := h.link.Open()
	if err != nil {
		return fmt.Errorf("start the iterator over descriptors: %w", explain(err))
	}
	return ended(dump, h.dump(ctx, dump, visit))
}

func (h *Holders) dump(ctx context.Context, dump io.Reader, visit func(pid, fd int32, inode uint64) error) error {
	kept := 0 // bytes of a record whose end is still to come
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("dump of descriptors cut short: %w", err)
		}
		n, err := read(dump, h.buf[kept:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dump of descriptors: %w", err)
		}
		b := h.buf[:kept+n]
		done, err := holdings(b, visit)
		if err != nil {
			return err
		}
		kept = copy(h.buf, b[done:])
	}
}

// Close gives up the program.
func (h *Holders) Close() error {
	if err := errors.Join(h.link.Close(), h.objects.Close()); err != nil {
		return fmt.Errorf("close the iterator over descriptors: %w", err)
	}
	return nil
}
