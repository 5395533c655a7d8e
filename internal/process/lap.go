// SPDX-License-Identifier: Apache-2.0

package process

import "errors"

// ErrCutShort says that a walk ended before it had seen every process, for the
// reason beside it. What it found counts; the next call of [Resolver.Resolve] goes
// on where it ended.
var ErrCutShort = errors.New("the walk over processes was cut short")

// lap is one pass over all processes, in as many walks as it takes. A claim is
// unanswered for good only after a lap that began after it was made.
type lap struct {
	// number counts the laps; never 0.
	number uint16
	// done is the last that came to its end.
	done uint16
	// at is where in the directory of processes the next walk goes on, 0 at the
	// beginning.
	at int64
	// sawFirst: process 1 was there, as it is as long as its PID namespace is.
	// Whoever does not see it does not see others either.
	sawFirst bool
	// denied is the number of processes with descriptors that may not be read.
	denied int
	// failed is the first of the processes that could not be read otherwise.
	failed error
}

// next is the number of the lap that begins next.
func (l *lap) next() uint16 {
	if l.at == 0 {
		return l.number
	}
	return following(l.number)
}

// begin readies the lap for a walk from the beginning.
func (l *lap) begin() { *l = lap{number: l.next(), done: l.done} }

// abandon makes the next walk begin anew: nothing is left to look for.
func (l *lap) abandon() { l.at = 0 }

// fail notes a process that could not be read.
func (l *lap) fail(err error) {
	if l.failed == nil {
		l.failed = err
	}
}

// end ends the lap: the next walk is from the beginning, and of the next lap.
func (l *lap) end() error {
	l.at = 0
	if l.failed == nil {
		l.number, l.done = following(l.number), l.number
	}
	return l.failed
}

func following(number uint16) uint16 {
	if number++; number == 0 {
		number++
	}
	return number
}

// covers returns whether lap done is lap begun or a later one. That the numbers
// wrap does not matter: a claim is answered after two laps at most.
func covers(done, begun uint16) bool { return int16(done-begun) >= 0 }
