// SPDX-License-Identifier: Apache-2.0

package process

// shrinkAbove is the number of claims above which the lookup map is thrown
// away when a scrape needs an eighth of it or less: the first scrape claims
// every socket of the host, the later ones those that are new.
const shrinkAbove = 4096

// claimSet is the claims of one Resolve, found by inode.
//
// A socket held by several processes (forked servers, nginx's workers) belongs
// to the oldest of them, and in that one to the lowest descriptor, so the
// answer does not depend on the order in which processes are read.
type claimSet struct {
	claims  []Claim
	byInode map[uint64]int32 // index of the first claim of that inode
	peak    int              // most claims that byInode has held

	open  int // inodes without an answer
	fresh int // those of them that no walk has looked for

	// youngest is the youngest process in the answers when the last open inode
	// was answered. Answers only grow older after that.
	youngest *Process
}

// load takes the claims of one scrape and answers those with inode 0. The others
// that are new are looked for from the given lap on.
func (s *claimSet) load(claims []Claim, lap uint16) {
	if s.byInode == nil || s.peak > shrinkAbove && len(claims) <= s.peak/8 {
		s.byInode = make(map[uint64]int32, len(claims))
		s.peak = 0
	}
	clear(s.byInode)
	s.peak = max(s.peak, len(claims))
	s.claims, s.open, s.fresh, s.youngest = claims, 0, 0, nil
	for i, c := range claims {
		c.Owner.Process, c.Owner.FD = nil, 0
		if c.Inode == 0 {
			// The inode appears when the socket is accepted; no walk has looked
			// for that one.
			*c.Owner, *c.Reason = Owner{}, ReasonNoOwner
			continue
		}
		if _, twice := s.byInode[c.Inode]; twice {
			continue
		}
		s.byInode[c.Inode] = int32(i)
		s.open++
		if !c.Owner.sought {
			s.fresh++
			if c.Owner.lap == 0 {
				c.Owner.lap = lap
			}
		}
	}
}

// awaits tells whether any claim without an answer was made after lap done had
// begun.
func (s *claimSet) awaits(done uint16) bool {
	if s.fresh == 0 {
		return false
	}
	for _, i := range s.byInode {
		if o := s.claims[i].Owner; o.Process == nil && !o.sought && !covers(done, o.lap) {
			return true
		}
	}
	return false
}

// find returns the number of the claim for an inode.
func (s *claimSet) find(inode uint64) (i int32, ok bool) {
	i, ok = s.byInode[inode]
	return i, ok
}

// answer says that p holds claim i at fd.
func (s *claimSet) answer(i int32, p *Process, fd int32) {
	owner := s.claims[i].Owner
	switch {
	case owner.Process == nil:
		s.open--
		if !owner.sought {
			s.fresh--
		}
	case owner.Process == p:
		fd = min(fd, owner.FD)
	case p.age().compare(owner.Process.age()) > 0:
		return
	}
	owner.Process, owner.FD = p, fd
}

// decided tells whether each claim has an answer that no process of age a, or
// a younger one, can better.
func (s *claimSet) decided(a age) bool {
	if s.open > 0 {
		return false
	}
	if s.youngest == nil {
		for _, i := range s.byInode {
			p := s.claims[i].Owner.Process
			if s.youngest == nil || p.age().compare(s.youngest.age()) > 0 {
				s.youngest = p
			}
		}
	}
	return s.youngest == nil || a.compare(s.youngest.age()) >= 0
}

// settle gives every claim its reason and lets go of the claims. missing is
// the reason of what lap done did not find, [ReasonNone] where none was ended.
func (s *claimSet) settle(missing Reason, done uint16) {
	for i, c := range s.claims {
		if c.Inode == 0 {
			continue
		}
		if first := s.byInode[c.Inode]; first != int32(i) {
			*c.Owner, *c.Reason = *s.claims[first].Owner, *s.claims[first].Reason
			continue
		}
		switch {
		case c.Owner.Process != nil:
			c.Owner.sought, c.Owner.lap = false, 0
			*c.Reason = ReasonNone
		case missing != ReasonNone && (c.Owner.sought || covers(done, c.Owner.lap)):
			c.Owner.sought, c.Owner.lap = true, 0
			*c.Reason = missing
		case !c.Owner.sought:
			*c.Reason = ReasonPending
		}
	}
	s.claims = nil
	s.youngest = nil
}
