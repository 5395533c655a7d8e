package dns

import (
	"bytes"
	"net/netip"
	"time"
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
	older    int32
	newer    int32
}

// pending are the queries of the last few seconds, in the order in which they were
// asked.
type pending struct {
	index  map[exchange]int32
	all    []query
	free   int32 // list, by older
	oldest int32
	newest int32
}

func newPending() *pending {
	return &pending{index: make(map[exchange]int32), free: none, oldest: none, newest: none}
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
	i := p.free
	if i != none {
		p.free = p.all[i].older
	} else {
		i = int32(len(p.all))
		p.all = append(p.all, query{})
	}
	q := &p.all[i]
	*q = query{exchange: x, typ: typ, name: append(q.name[:0], name...), asked: asked, key: key, older: p.newest, newer: none}
	if p.newest != none {
		p.all[p.newest].newer = i
	} else {
		p.oldest = i
	}
	p.newest = i
	p.index[x] = i
}

// first returns the query that was asked longest ago, nil if there is none.
func (p *pending) first() *query {
	if p.oldest == none {
		return nil
	}
	return &p.all[p.oldest]
}

// remove forgets a query.
func (p *pending) remove(q *query) {
	i := p.index[q.exchange]
	delete(p.index, q.exchange)
	if q.older != none {
		p.all[q.older].newer = q.newer
	} else {
		p.oldest = q.newer
	}
	if q.newer != none {
		p.all[q.newer].older = q.older
	} else {
		p.newest = q.older
	}
	q.older = p.free
	p.free = i
}
