// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// iterator is the program over TCP sockets, loaded once for all sources that a
// factory opens, with the same filter.
type iterator struct {
	mu   sync.Mutex
	uses int

	objects socketsObjects
	link    *link.Iter
	// refused is why this kernel does not take the program. It never will: to try
	// again would cost much for nothing.
	refused error
	// cookies: the program may ask for the sockets' cookies.
	cookies bool
	// narrowed is the filter that it has, and narrowings how often it got another.
	narrowed   *source.Filter
	narrowings int

	// dumping is held during a dump: since is the program's, which is shared.
	dumping sync.Mutex

	// alone: sock_diag has failed beside it.
	alone atomic.Bool
}

// acquire loads the program for its first user.
func (it *iterator) acquire() error {
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.uses == 0 {
		if it.refused != nil {
			return it.refused
		}
		if err := it.load(); err != nil {
			if isRefusal(err) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, btf.ErrNotFound) {
				it.refused = err
			}
			return err
		}
	}
	it.uses++
	return nil
}

// release unloads it after its last one.
func (it *iterator) release() error {
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.uses--; it.uses > 0 {
		return nil
	}
	return errors.Join(it.link.Close(), it.objects.Close())
}

func (it *iterator) load() error {
	spec, err := loadSockets()
	if err != nil {
		return fmt.Errorf("read the program over TCP sockets: %w", err)
	}
	it.cookies, it.narrowed = true, nil
	err = load(spec, &it.objects, nil)
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		// Linux 5.9 to 5.11.
		it.cookies = false
		if err := spec.Variables["cookies"].Set(false); err != nil {
			return fmt.Errorf("configure the program over TCP sockets: %w", err)
		}
		err = load(spec, &it.objects, nil)
	}
	if err != nil {
		return fmt.Errorf("load the iterator over TCP sockets: %w", err)
	}
	if it.link, err = link.AttachIter(link.IterOptions{Program: it.objects.DumpSockets}); err != nil {
		return errors.Join(fmt.Errorf("attach the iterator over TCP sockets: %w", explain(err)), it.objects.Close())
	}
	return nil
}

// load loads programs into the kernel and says what is missing if it cannot. Who
// calls it has the kernel's types forgotten after the last program: they take some
// megabytes.
func load(spec *ebpf.CollectionSpec, objects any, options *ebpf.CollectionOptions) error {
	if _, err := os.Stat(kernelTypes); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: the kernel is not built with CONFIG_DEBUG_INFO_BTF: %w", kernelTypes, errors.ErrUnsupported)
	}
	// Kernels before 5.11 count programs and maps as locked memory. Where the limit
	// of that matters and cannot be raised, loading fails and says so.
	_ = rlimit.RemoveMemlock()
	return explain(spec.LoadAndAssign(objects, options))
}

const kernelTypes = "/sys/kernel/btf/vmlinux"

// explain says in one line what to do about an error.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && !isRefusal(err):
		return fmt.Errorf("%w (grant CAP_BPF and CAP_PERFMON, before Linux 5.11 also CAP_SYS_RESOURCE; see docs/sources.md, Permissions)", unix.EPERM)
	case errors.Is(err, btf.ErrNotFound), errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w (Linux 5.9 or later)", err)
	}
	return err
}

// isRefusal tells whether the kernel's verifier, not a lack of privileges, is
// behind an EACCES.
func isRefusal(err error) bool {
	var refused *ebpf.VerifierError
	return errors.As(err, &refused)
}

// narrow sets the filter.
func (it *iterator) narrow(f *source.Filter) error {
	it.mu.Lock()
	defer it.mu.Unlock()
	if f == it.narrowed {
		return nil
	}
	it.narrowed = f
	it.narrowings++
	if f == nil {
		f = &source.Filter{}
	}
	return errors.Join(
		it.objects.States.Set(stateMask(f.States)),
		it.objects.LocalPorts.Set(portBits(f.LocalPorts)),
		it.objects.ByLocalPort.Set(len(f.LocalPorts) > 0),
		it.objects.PeerPorts.Set(portBits(f.PeerPorts)),
		it.objects.ByPeerPort.Set(len(f.PeerPorts) > 0),
		setPrefixes(it.objects.Include, f.PeerInclude),
		it.objects.ByInclude.Set(len(f.PeerInclude) > 0),
		setPrefixes(it.objects.Exclude, f.PeerExclude),
		it.objects.ByExclude.Set(len(f.PeerExclude) > 0),
	)
}

// filters returns how often the filter has changed.
func (it *iterator) filters() int {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.narrowings
}

// setPrefixes makes a map's keys those of the networks.
func setPrefixes(m *ebpf.Map, prefixes []netip.Prefix) error {
	var (
		old   []prefixKey
		key   prefixKey
		value uint8
	)
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		old = append(old, key)
	}
	if err := entries.Err(); err != nil {
		return err
	}
	for _, key := range old {
		if err := m.Delete(key); err != nil {
			return err
		}
	}
	for _, p := range prefixes {
		if err := m.Put(prefixKeyOf(p), uint8(1)); err != nil {
			return err
		}
	}
	return nil
}
