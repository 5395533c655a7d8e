// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

const (
	// checkEvery is how often a file is looked at, when it is used.
	checkEvery = 10 * time.Second
	// maxOrganizations is how many names of organizations are kept to be shared.
	maxOrganizations = 4096
)

// Place is where an address is, as far as the files say.
type Place struct {
	// Country is its code of two letters (ISO 3166-1), "" if it is not known.
	Country string
	// ASN is the number of its autonomous system, 0 if it is not known, ASOrg whom
	// that belongs to.
	ASN   uint32
	ASOrg string
}

// Places finds the places of addresses in files of MaxMind's format. Files are
// loaded again when they have changed. Any goroutine may use it.
type Places struct {
	files []*placeFile
	// onReload is called after each attempt to load a changed file. If that failed, the
	// previous contents stay in use.
	onReload func(path string, err error)
	loading  sync.WaitGroup

	mu            sync.Mutex
	organizations map[string]string
}

// placeFile is a file and what was read of it.
type placeFile struct {
	path   string
	reader atomic.Pointer[maxminddb.Reader]

	mu      sync.Mutex
	checked time.Time
	seen    fs.FileInfo // of the last attempt to load it
	busy    bool
}

// OpenPlaces loads the files. onReload, if it is not nil, is called
// after each attempt to load a file that has changed.
func OpenPlaces(paths []string, onReload func(path string, err error)) (*Places, error) {
	p := &Places{onReload: onReload, organizations: make(map[string]string)}
	var errs []error
	for _, path := range paths {
		f := &placeFile{path: path, checked: time.Now()}
		info, err := os.Stat(path)
		if err == nil {
			f.seen = info
			err = f.load()
		}
		errs = append(errs, err)
		p.files = append(p.files, f)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// load reads the file into memory. It is not mapped: if another program truncated a
// mapped file, reading it would end this process with SIGBUS.
func (f *placeFile) load() error {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return err // names the file
	}
	reader, err := maxminddb.OpenBytes(b)
	if err != nil {
		return fmt.Errorf("%s is no database of MaxMind's format: %w", f.path, err)
	}
	f.reader.Store(reader)
	return nil
}

// changed reports whether the file is another one than was loaded last. If so, the
// caller loads it.
func (f *placeFile) changed(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since := now.Sub(f.checked); f.busy || since >= 0 && since < checkEvery {
		return false
	}
	f.checked = now
	info, err := os.Stat(f.path)
	if err != nil || os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return false // while it is replaced there may be none
	}
	f.seen, f.busy = info, true
	return true
}

// reload loads a file that has changed, while the one before it is in use.
func (p *Places) reload(f *placeFile) {
	defer p.loading.Done()
	err := f.load()
	f.mu.Lock()
	f.busy = false
	f.mu.Unlock()
	if p.onReload != nil {
		p.onReload(f.path, err)
	}
}

// record is what is read of a file, which has some of it.
type record struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Number       uint32 `maxminddb:"autonomous_system_number"`
	Organization string `maxminddb:"autonomous_system_organization"`
}

// Lookup returns the place of an address, of the first file that has each part.
func (p *Places) Lookup(addr netip.Addr, now time.Time) (place Place) {
	addr = addr.Unmap().WithZone("")
	for _, f := range p.files {
		if f.changed(now) {
			p.loading.Add(1)
			go p.reload(f)
		}
		if !addr.IsValid() || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() {
			continue // in no file of these
		}
		var r record
		if f.reader.Load().Lookup(addr).Decode(&r) != nil {
			continue // a file of another family, or broken at this place
		}
		if place.Country == "" {
			place.Country = r.Country.Code
		}
		if place.ASN == 0 && r.Number != 0 {
			place.ASN, place.ASOrg = r.Number, p.shared(r.Organization)
		}
	}
	return place
}

// shared returns one copy of a name for all that have it.
func (p *Places) shared(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one, ok := p.organizations[name]; ok {
		return one
	}
	if len(p.organizations) >= maxOrganizations {
		clear(p.organizations)
	}
	p.organizations[name] = name
	return name
}

// Close waits for files that are being loaded.
func (p *Places) Close() { p.loading.Wait() }
