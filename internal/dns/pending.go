// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/lru"
)

// maxPending is how many queries are waited for at once.
const maxPending = 8192

// exchange is a query and its answer.
type exchange struct {
	client, server netip.AddrPort
	id             uint16
	protocol       uint8
}

// query is one that was asked. It is kept for a while after its answer: the same
// packets are seen again on each interface that they pass.
type query struct {
	exchange
	typ      uint16
	answered bool
	name     []byte // reused
	asked    time.Time
	key      uint64
}

// pending are the queries of the last few seconds, in the order in which they were
// asked.
type pending struct {
	index map[exchange]int32
	all   []query
	order lru.Order // of all
}

func newPending() *pending {
	return &pending{index: make(map[exchange]int32), order: lru.NewOrder()}
}

// find returns the query of an exchange, nil if there is none.
func (p *pending) find(x exchange) *query {
	if i, ok := p.index[x]; ok {
		return &p.all[i]
	}
	return nil
}

// is reports whether the query asks for that.
func (q *query) is(name []byte, typ uint16) bool { return q.typ == typ && bytes.Equal(q.name, name) }

// add adds a query. The caller has made room, and the exchange has none yet.
func (p *pending) add(x exchange, name []byte, typ uint16, key uint64, asked time.Time) {
	i := p.order.Add()
	if int(i) == len(p.all) {
		p.all = append(p.all, query{})
	}
	q := &p.all[i]
	*q = query{exchange: x, typ: typ, name: append(q.name[:0], name...), asked: asked, key: key}
	p.index[x] = i
}

// first returns the query that was asked longest ago, nil if there is none.
func (p *pending) first() *query {
	i := p.order.Oldest()
	if i == lru.None {
		return nil
	}
	return &p.all[i]
}

// each visits the queries, the one that was asked longest ago first.
func (p *pending) each(visit func(*query)) {
	for i := p.order.Oldest(); i != lru.None; i = p.order.Newer(i) {
		visit(&p.all[i])
	}
}

// remove forgets a query.
func (p *pending) remove(q *query) {
	p.order.Drop(p.index[q.exchange])
	delete(p.index, q.exchange)
}
