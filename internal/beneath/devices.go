// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// struct xbpf_d of <net/bpfdesc.h>, which begins with its length.
const (
	deviceLen        = 168
	atDeviceReceived = 32 // bd_rcount
	atDeviceDropped  = 40 // bd_dcount
	atDevicePID      = 72
	atDeviceName     = 76
	interfaceNameLen = 16 // IFNAMSIZ
)

// deviceKey is what a series of devices has in common: nothing of a descriptor tells
// it from another of the same process.
type deviceKey struct {
	name string
	pid  int32
}

// devices remembers what was counted, as the counts of a descriptor are gone when it
// is closed.
type devices map[deviceKey]*deviceCount

type deviceCount struct{ now, total Device }

// parse takes net.bpf.stats in and sets what was counted so far by each process that
// has devices now.
func (d devices) parse(raw []byte, n *Numbers) error {
	now := make(map[deviceKey]Device)
	err := records(raw, deviceLen, "xbpf_d", func(b []byte) {
		name, _, _ := bytes.Cut(b[atDeviceName:atDeviceName+interfaceNameLen], []byte{0})
		key := deviceKey{string(name), int32(binary.NativeEndian.Uint32(b[atDevicePID:]))}
		sum := now[key]
		sum.Received += binary.NativeEndian.Uint64(b[atDeviceReceived:])
		sum.Dropped += binary.NativeEndian.Uint64(b[atDeviceDropped:])
		now[key] = sum
	})
	if err != nil {
		return err
	}
	maps.DeleteFunc(d, func(key deviceKey, _ *deviceCount) bool { _, there := now[key]; return !there })
	for key, sum := range now {
		count := d[key]
		if count == nil {
			count = &deviceCount{total: Device{Interface: key.name, PID: key.pid}}
			d[key] = count
		}
		// A sum that has fallen has lost a descriptor: what the others counted in the
		// meantime is not known.
		if sum.Received >= count.now.Received && sum.Dropped >= count.now.Dropped {
			count.total.Received += sum.Received - count.now.Received
			count.total.Dropped += sum.Dropped - count.now.Dropped
		}
		count.now = sum
		n.Devices = append(n.Devices, count.total)
	}
	slices.SortFunc(n.Devices, func(a, b Device) int {
		if c := strings.Compare(a.Interface, b.Interface); c != 0 {
			return c
		}
		return int(a.PID) - int(b.PID)
	})
	return nil
}
