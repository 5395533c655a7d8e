// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Every socket that a process has a descriptor of is joined with that process,
// and no other is: as root, as an ordinary user, with others hidden, in a jail,
// and in a jail with a vnet.
func TestJoinOnFreeBSD(t *testing.T) {
	for _, osreldate := range bsdKernels {
		tr := readBSDTruth(t, osreldate)
		type role struct {
			suffix, processes string
			sees              func(uid, jail int32) bool
			jailed            bool // the processes of its own jail have no jail to it
		}
		for _, as := range []role{
			{"", "kern_proc_proc", func(_, jail int32) bool { return jail != 2 }, false},
			{"_uid1001", "kern_proc_proc", func(_, jail int32) bool { return jail != 2 }, false},
			{"_uid1001_noseeother", "kern_proc_proc", func(uid, _ int32) bool { return uid == 1001 }, false},
			{"_jail", "kern_proc_all_jail", func(_, jail int32) bool { return jail == 1 }, true},
			{"_vnetjail", "kern_proc_all_vnetjail", func(_, jail int32) bool { return jail == 2 }, true},
		} {
			t.Run(fmt.Sprint(osreldate, as.suffix), func(t *testing.T) {
				sockets := bsdSockets(t, osreldate, "pcblist"+as.suffix)
				processes := bsdProcesses(t, osreldate, as.processes, tr.boot(t))
				owners := join(t, bsdFixture(t, osreldate, "kern_file"+as.suffix), processes, claimsOf(sockets))
				joined := 0
				for _, p := range tr.Processes {
					for _, s := range tr.Sockets {
						if s.PID != p.PID || s.FDClosed || !as.sees(p.UID, p.JID) {
							continue
						}
						socket, ok := sockets[bsdEnds(s.Local, s.Remote)]
						require.True(t, ok, s.Name)
						owner := owners[socket.Inode]
						if !assert.NotNil(t, owner.Process, s.Name) {
							continue
						}
						joined++
						assert.Equal(t, p.PID, owner.Process.PID, s.Name)
						assert.Equal(t, path.Base(p.Exe), owner.Process.Executable, s.Name)
						jail := p.JID
						if as.jailed {
							jail = 0
						}
						assert.Equal(t, jail, owner.Process.JailID, s.Name)
						if s.Name == "a4-0.s-dup" {
							assert.Less(t, owner.FD, s.FD, "the lowest descriptor of it")
						} else {
							assert.Equal(t, s.FD, owner.FD, s.Name)
						}
					}
				}
				assert.NotZero(t, joined)
				// What has no descriptor has no owner.
				withOwner := 0
				for inode, owner := range owners {
					assert.NotZero(t, inode)
					if owner.Process != nil {
						withOwner++
					}
				}
				dups := 0
				if as.sees(0, 0) {
					dups = 1
				}
				assert.Equal(t, joined-dups, withOwner)
			})
		}
	}
}

// join does what the walk of FreeBSD does, with processes that were read before.
func join(t *testing.T, files []byte, processes map[int32]kinfo, claims []Claim) map[uint64]Owner {
	var set claimSet
	set.load(claims, 1)
	known := map[int32]*Process{}
	_, _, err := parseKernFile(files, func(pid, fd int32, socket uint64) error {
		i, ok := set.find(socket)
		if !ok {
			return nil
		}
		k, ok := processes[pid]
		require.True(t, ok, "process %d", pid)
		if known[pid] == nil {
			known[pid] = &Process{PID: pid, ParentPID: k.parent, Executable: k.name(), JailID: k.jail, Created: k.created(time.Time{})}
		}
		set.answer(i, known[pid], fd)
		return nil
	})
	require.NoError(t, err)
	set.settle(ReasonNoOwner, 1)
	owners := map[uint64]Owner{}
	for _, c := range claims {
		if c.Inode != 0 {
			owners[c.Inode] = *c.Owner
		}
	}
	return owners
}

func claimsOf(sockets map[[2]netip.AddrPort]tcp.Socket) (claims []Claim) {
	for _, s := range sockets {
		claims = append(claims, Claim{Inode: s.Inode, Owner: new(Owner), Reason: new(Reason)})
	}
	return claims
}

func TestKernFileMalformed(t *testing.T) {
	whole := bsdFixture(t, 1501000, "kern_file_jail")
	found := func(_, _ int32, _ uint64) error { return nil }
	n, processes, err := parseKernFile(whole, found)
	require.NoError(t, err)
	assert.Equal(t, 5, n)
	assert.Equal(t, 1, processes)

	_, _, err = parseKernFile(whole[:len(whole)-1], found)
	assert.EqualError(t, err, "malformed kern.file: 127 bytes are left for a struct xfile of 128")
	_, _, err = parseKernFile(whole[:4], found)
	assert.EqualError(t, err, "malformed kern.file: 4 bytes are left for a struct xfile")
	_, _, err = parseKernFile(make([]byte, xfileLen), found)
	assert.EqualError(t, err, "malformed kern.file: struct xfile of 0 bytes, not 128: a layout that is not known")
	huge := make([]byte, xfileLen)
	binary.NativeEndian.PutUint64(huge, 1<<63)
	_, _, err = parseKernFile(huge, found)
	require.ErrorIs(t, err, errKernFile)

	stop := errors.New("stop")
	n, _, err = parseKernFile(whole, func(_, _ int32, _ uint64) error { return stop })
	assert.ErrorIs(t, err, stop)
	assert.Less(t, n, 5)
}

func BenchmarkParseKernFile(b *testing.B) {
	raw := bsdFixture(b, 1501000, "kern_file")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, _, err := parseKernFile(raw, func(_, _ int32, _ uint64) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "sockets/s")
}

func FuzzParseKernFile(f *testing.F) {
	for _, osreldate := range bsdKernels {
		f.Add(bsdFixture(f, osreldate, "kern_file_jail"))
		f.Add(bsdFixture(f, osreldate, "kern_file_vnetjail"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		found := 0
		n, processes, err := parseKernFile(raw, func(_, _ int32, socket uint64) error {
			if socket == 0 {
				t.Fatal("a socket nowhere")
			}
			found++
			return nil
		})
		if found > n || processes > n || n > len(raw)/xfileLen || err != nil && !errors.Is(err, errKernFile) {
			t.Fatalf("%d sockets of %d descriptors in %d bytes: %v", found, n, len(raw), err)
		}
	})
}
