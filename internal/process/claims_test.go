// SPDX-License-Identifier: Apache-2.0

package process

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// question is a claim with the places for its answer.
type question struct {
	inode  uint64
	owner  Owner
	reason Reason
}

func (q *question) claim() Claim {
	return Claim{Inode: q.inode, Owner: &q.owner, Reason: &q.reason}
}

// ask makes claims for some inodes.
func ask(inodes ...uint64) (questions []*question, claims []Claim) {
	for _, inode := range inodes {
		q := &question{inode: inode}
		questions, claims = append(questions, q), append(claims, q.claim())
	}
	return questions, claims
}

// bornAt is a process created so many ticks after the epoch.
func bornAt(ticks int, pid int32) *Process {
	return &Process{PID: pid, Created: time.Unix(0, 0).Add(time.Duration(ticks) * tick)}
}

func TestClaimsBelongToTheOldestInAnyOrder(t *testing.T) {
	type find struct {
		p  *Process
		fd int32
	}
	old := bornAt(5, 900)
	finds := []find{{bornAt(9, 10), 3}, {old, 8}, {old, 4}, {bornAt(5, 901), 1}}
	for range 24 {
		q, claims := ask(42)
		var s claimSet
		s.load(claims, 1)
		i, ok := s.find(42)
		assert.True(t, ok)
		for _, f := range finds {
			s.answer(i, f.p, f.fd)
		}
		s.settle(ReasonNoOwner, 1)
		assert.Equal(t, Owner{Process: old, FD: 4}, q[0].owner)
		assert.Empty(t, q[0].reason)
		slices.SortFunc(finds[1:], func(a, b find) int { return int(a.fd - b.fd) })
		finds = append(finds[1:], finds[0])
	}
}

func TestClaimsDecided(t *testing.T) {
	var s claimSet
	_, claims := ask(1, 2)
	s.load(claims, 1)
	assert.False(t, s.decided(bornAt(1000, 1).age()), "claims are open")
	s.answer(0, bornAt(10, 7), 3)
	assert.False(t, s.decided(bornAt(1000, 1).age()), "a claim is open")
	youngest := bornAt(20, 8)
	s.answer(1, youngest, 3)
	assert.True(t, s.decided(bornAt(20, 9).age()))
	assert.True(t, s.decided(youngest.age()))
	assert.False(t, s.decided(bornAt(20, 7).age()), "same tick, smaller pid")
	assert.False(t, s.decided(bornAt(15, 9).age()), "may better one of the answers")
}

func TestClaimsReasons(t *testing.T) {
	var s claimSet
	q, claims := ask(0, 1, 2)
	settle := func(missing Reason) (r [3]Reason) {
		s.settle(missing, 1)
		for i, q := range q {
			r[i] = q.reason
		}
		return r
	}

	s.load(claims, 1)
	assert.Equal(t, 2, s.fresh)
	assert.Equal(t, [3]Reason{ReasonNoOwner, ReasonPending, ReasonPending}, settle(ReasonNone))

	s.load(claims, 1)
	assert.Equal(t, 2, s.fresh, "pending ones were not looked for")
	s.answer(1, bornAt(1, 1), 3)
	assert.Equal(t, 1, s.fresh)
	assert.Equal(t, [3]Reason{ReasonNoOwner, ReasonNone, ReasonNoPermission}, settle(ReasonNoPermission))

	q[0].inode = 3 // accepted
	claims = []Claim{q[0].claim(), q[1].claim(), q[2].claim()}
	s.load(claims, 1)
	assert.Equal(t, 3, s.open)
	assert.Equal(t, 2, s.fresh, "one was looked for, one was accepted, one is asked for afresh")
	assert.Equal(t, [3]Reason{ReasonPending, ReasonPending, ReasonNoPermission}, settle(ReasonNone))

	s.load(claims, 1)
	s.answer(2, bornAt(1, 1), 3)
	assert.Equal(t, [3]Reason{ReasonNoOwner, ReasonNoOwner, ReasonNone}, settle(ReasonNoOwner))
	assert.Equal(t, Owner{Process: q[2].owner.Process, FD: 3}, q[2].owner, "found, it is as one never looked for")
}

func TestClaimsOfOneInode(t *testing.T) {
	var s claimSet
	q, claims := ask(7, 7, 7)
	s.load(claims, 1)
	assert.Equal(t, 1, s.open)
	i, _ := s.find(7)
	p := bornAt(1, 1)
	s.answer(i, p, 5)
	assert.Zero(t, s.open)
	s.settle(ReasonNone, 1)
	for _, q := range q {
		assert.Equal(t, Owner{Process: p, FD: 5}, q.owner)
		assert.Empty(t, q.reason)
	}
}

func TestClaimsShrink(t *testing.T) {
	var s claimSet
	_, many := ask(make([]uint64, 8*shrinkAbove)...)
	for i := range many {
		many[i].Inode = uint64(i + 1)
	}
	s.load(many, 1)
	s.settle(ReasonNone, 1)
	assert.Equal(t, len(many), s.peak)
	s.load(many[:len(many)/4], 1)
	assert.Equal(t, len(many), s.peak, "kept while a good part of it is used")
	s.load(many[:len(many)/8], 1)
	assert.Equal(t, len(many)/8, s.peak)
	assert.Len(t, s.byInode, len(many)/8)
}

func TestClaimsWaitForALapOfTheirOwn(t *testing.T) {
	var s claimSet
	q, claims := ask(1, 2)
	s.load(claims[:1], 4)
	s.settle(ReasonNone, 0)
	s.load(claims, 5) // the second comes while lap 4 is under way
	assert.True(t, s.awaits(4))
	s.settle(ReasonNoOwner, 4)
	assert.Equal(t, ReasonNoOwner, q[0].reason)
	assert.Equal(t, ReasonPending, q[1].reason)
	s.load(claims, 6)
	assert.Equal(t, 1, s.fresh)
	assert.False(t, s.awaits(5))
	s.settle(ReasonNoPermission, 5)
	assert.Equal(t, ReasonNoPermission, q[0].reason, "looked for again on the way")
	assert.Equal(t, ReasonNoPermission, q[1].reason)
}
