// SPDX-License-Identifier: Apache-2.0

// Package lru orders the places of a slice by when they were last used, and gives the
// free ones out again. It allocates nothing for a place but its links.
package lru

// None is no place.
const None int32 = -1

// Order is the order of the places in use, from the one that was used longest ago to
// the one that was used last.
type Order struct {
	links          []links
	oldest, newest int32
	free           int32 // list, by older
}

type links struct{ older, newer int32 }

// NewOrder returns an order without places.
func NewOrder() Order { return Order{oldest: None, newest: None, free: None} }

// Oldest returns the place that was used longest ago, None if none is in use.
func (o *Order) Oldest() int32 { return o.oldest }

// Newest returns the place that was used last, None if none is in use.
func (o *Order) Newest() int32 { return o.newest }

// Newer returns the place that was used next after i, None if i is the newest.
func (o *Order) Newer(i int32) int32 { return o.links[i].newer }

// Add takes a place into use, as the newest: one that was dropped, or else the one
// behind all others, by which the caller's slice grows.
func (o *Order) Add() int32 {
	i := o.free
	if i != None {
		o.free = o.links[i].older
	} else {
		i = int32(len(o.links))
		o.links = append(o.links, links{})
	}
	o.link(i)
	return i
}

// Renew makes a place the newest.
func (o *Order) Renew(i int32) {
	if i != o.newest {
		o.unlink(i)
		o.link(i)
	}
}

// Drop makes a place free.
func (o *Order) Drop(i int32) {
	o.unlink(i)
	o.links[i].older = o.free
	o.free = i
}

func (o *Order) link(i int32) {
	o.links[i] = links{older: o.newest, newer: None}
	if o.newest != None {
		o.links[o.newest].newer = i
	} else {
		o.oldest = i
	}
	o.newest = i
}

func (o *Order) unlink(i int32) {
	l := o.links[i]
	if l.newer != None {
		o.links[l.newer].older = l.older
	} else {
		o.newest = l.older
	}
	if l.older != None {
		o.links[l.older].newer = l.newer
	} else {
		o.oldest = l.newer
	}
}
