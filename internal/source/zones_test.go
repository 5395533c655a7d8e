// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// fakeZones are zones of the given interfaces, and a clock to set.
func fakeZones() (z *Zones, interfaces *[]net.Interface, clock *time.Time, reads *int) {
	z, interfaces, clock, reads = NewZones(), new([]net.Interface), new(time.Time), new(int)
	*clock = time.Now()
	z.now = func() time.Time { return *clock }
	z.interfaces = func() ([]net.Interface, error) {
		if *reads++; *interfaces == nil {
			return nil, errors.New("no netlink")
		}
		return *interfaces, nil
	}
	return z, interfaces, clock, reads
}

func TestZonesAreReadAgain(t *testing.T) {
	z, interfaces, clock, reads := fakeZones()
	*interfaces = []net.Interface{{Index: 1, Name: "lo"}, {Index: 7, Name: "veth7"}, {Index: 8, Name: "veth8"}}
	assert.Equal(t, "7", z.Known(7), "nobody has read it yet")
	assert.Equal(t, "veth7", z.Name(7))
	assert.Equal(t, "veth8", z.Known(8))
	assert.Equal(t, "4000000000", z.Name(4000000000))
	before := *reads
	for range 100 {
		z.Name(1)
		z.Name(7)
		z.Name(4000000000)
	}
	assert.Equal(t, before, *reads, "they are believed for a while")

	// One is renamed, one is gone, one is new, and one comes late.
	*interfaces = []net.Interface{{Index: 1, Name: "lo"}, {Index: 7, Name: "eth0"}, {Index: 9, Name: "veth9"}}
	assert.Equal(t, "veth9", z.Name(9), "what was never asked for is read at once")
	*clock = clock.Add(maxZoneAge)
	assert.Equal(t, "eth0", z.Name(7))
	assert.Equal(t, "8", z.Known(8))
	assert.Equal(t, "8", z.Name(8))
	assert.Len(t, z.names, 4, "those there are, and one without a name")

	// The number of one that is gone is given to another.
	*clock = clock.Add(maxZoneAge)
	*interfaces = []net.Interface{{Index: 7, Name: "veth70"}, {Index: 8, Name: "veth80"}}
	assert.Equal(t, "veth80", z.Name(8))
	assert.Equal(t, "veth70", z.Name(7))
	assert.Len(t, z.names, 2)

	*clock, *interfaces = clock.Add(maxZoneAge), nil
	assert.Equal(t, "veth80", z.Name(8), "that they cannot be read does not change them")
	before = *reads
	assert.Equal(t, "veth70", z.Name(7))
	assert.Equal(t, "9", z.Name(9))
	assert.Equal(t, "9", z.Name(9))
	assert.Equal(t, before+1, *reads)
}

func TestZonesOfAnotherNamespace(t *testing.T) {
	z, interfaces, clock, reads := fakeZones()
	*interfaces = []net.Interface{{Index: 7, Name: "veth7"}}
	assert.Equal(t, "veth7", z.Name(7))
	z.namespace++ // the same as if this thread were elsewhere
	*clock = clock.Add(maxZoneAge)
	before := *reads
	assert.Equal(t, "veth7", z.Name(7), "what was known")
	assert.Equal(t, "8", z.Name(8))
	z.namespace--
	*interfaces = append(*interfaces, net.Interface{Index: 8, Name: "veth8"})
	assert.Equal(t, before, *reads, "names here are not names there")
	assert.Equal(t, "veth8", z.Name(8))
}
