// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxUntranslated is how many peers are remembered as not translated,
	// untranslatedFor for how long: then the next connection is asked for again.
	// Where the kernel does not track a connection, it may have ended before it was
	// asked for, and the time is shorter: untrackedFor.
	maxUntranslated = 16_384
	untranslatedFor = 5 * time.Minute
	untrackedFor    = 10 * time.Second
)

// Translations finds the addresses behind those that this host translates (DNAT).
// Whether a peer is translated is learned from its first connection. After that
// each new connection to it costs a request, for it may lead elsewhere; peers that
// are not translated cost none.
type Translations struct {
	ask   func(tuple) (original, reply tuple, err error)
	close func() error

	mu           sync.Mutex
	untranslated map[netip.AddrPort]time.Time // until when
	counts       TranslationCounts
}

// TranslationCounts are counters since the start.
type TranslationCounts struct {
	// Requests is how often the kernel was asked, Translated how often it knew of
	// another address, Failed how often it did not answer.
	Requests, Translated, Failed uint64
}

func newTranslations(ask func(tuple) (original, reply tuple, err error), close func() error) *Translations {
	return &Translations{ask: ask, close: close, untranslated: make(map[netip.AddrPort]time.Time)}
}

// Lookup returns the address and port behind the peer of a connection that this
// host has opened. It is not valid if there is none.
func (t *Translations) Lookup(local, peer netip.AddrPort, now time.Time) netip.AddrPort {
	local, peer = plain(local), plain(peer)
	if local.Addr().Is4() != peer.Addr().Is4() || peer.Addr().IsLinkLocalUnicast() {
		return netip.AddrPort{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if until, ok := t.untranslated[peer]; ok && now.Before(until) {
		return netip.AddrPort{}
	}
	t.counts.Requests++
	original, reply, err := t.ask(tuple{local, peer})
	if err != nil && !errors.Is(err, errUntracked) {
		t.counts.Failed++
		return netip.AddrPort{}
	}
	if err == nil {
		if who := behind(local, peer, original, reply); who.IsValid() {
			t.counts.Translated++
			delete(t.untranslated, peer)
			return who
		}
	}
	if len(t.untranslated) >= maxUntranslated {
		clear(t.untranslated)
	}
	if err != nil {
		t.untranslated[peer] = now.Add(untrackedFor)
	} else {
		t.untranslated[peer] = now.Add(untranslatedFor)
	}
	return netip.AddrPort{}
}

// plain is an address as connection tracking has it.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// Counts returns the counters.
func (t *Translations) Counts() TranslationCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// Close gives back what the translations hold.
func (t *Translations) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.close()
}
