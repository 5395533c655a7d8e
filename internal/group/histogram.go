// SPDX-License-Identifier: Apache-2.0

package group

import (
	"math"
	"slices"
)

// Histogram counts samples in buckets. It only grows.
type Histogram struct {
	Count    uint64
	Sum      float64
	Min, Max float64

	// Explicit has, for n bounds, the counts of n+1 buckets: up to each bound,
	// that included, and above the last.
	Explicit []uint64
	// Exponential is set instead where the configuration asks for it.
	Exponential *Exponential
}

// newHistogram returns one with the bounds given, or without any an exponential
// one.
func newHistogram(bounds []float64) *Histogram {
	if len(bounds) == 0 {
		return &Histogram{Exponential: newExponential()}
	}
	return &Histogram{Explicit: make([]uint64, len(bounds)+1)}
}

// add counts a sample. bounds are those of Explicit.
func (h *Histogram) add(v float64, bounds []float64) {
	if h.Count == 0 || v < h.Min {
		h.Min = v
	}
	if h.Count == 0 || v > h.Max {
		h.Max = v
	}
	h.Count++
	h.Sum += v
	if h.Exponential != nil {
		h.Exponential.add(v)
		return
	}
	i, _ := slices.BinarySearch(bounds, v) // the first bound that is not below v
	h.Explicit[i]++
}

const (
	// maxScale is fine enough for anything that is measured: neighbours differ by
	// a millionth.
	maxScale = 20
	// maxBuckets is what the OpenTelemetry SDKs take by default: at any range of
	// values up to 2^40, a relative error below 5 %.
	maxBuckets = 160
)

// Exponential is a base-2 exponential histogram of positive values as OTLP
// has them: bucket i holds values in (2^(i/2^Scale), 2^((i+1)/2^Scale)]. The
// scale falls as the range of values grows.
type Exponential struct {
	Scale  int32
	Zero   uint64
	Offset int32    // index of Counts[0]
	Counts []uint64 // at most maxBuckets
}

func newExponential() *Exponential {
	return &Exponential{Scale: maxScale, Counts: make([]uint64, 0, maxBuckets)}
}

func (e *Exponential) add(v float64) {
	if v <= 0 {
		e.Zero++
		return
	}
	i := bucketOf(v, e.Scale)
	if len(e.Counts) == 0 {
		e.Offset = i
	}
	lo, hi := min(e.Offset, i), max(e.Offset+int32(len(e.Counts))-1, i)
	for hi-lo >= maxBuckets {
		e.halve()
		i >>= 1
		lo, hi = min(e.Offset, i), max(e.Offset+int32(len(e.Counts))-1, i)
	}
	// The capacity is there from the start: no sample allocates.
	if grow := int(e.Offset - lo); grow > 0 && len(e.Counts) > 0 {
		n := len(e.Counts)
		e.Counts = e.Counts[:n+grow]
		copy(e.Counts[grow:], e.Counts[:n])
		clear(e.Counts[:grow])
		e.Offset = lo
	}
	for e.Offset+int32(len(e.Counts)) <= i {
		e.Counts = append(e.Counts, 0)
	}
	e.Counts[i-e.Offset]++
}

// halve makes one bucket of each two.
func (e *Exponential) halve() {
	e.Scale--
	first := e.Offset >> 1
	last := (e.Offset + int32(len(e.Counts)) - 1) >> 1
	for i := range e.Counts {
		count := e.Counts[i]
		e.Counts[i] = 0
		e.Counts[(e.Offset+int32(i))>>1-first] += count
	}
	e.Counts = e.Counts[:last-first+1]
	e.Offset = first
}

// bucketOf returns the index of a value's bucket.
func bucketOf(v float64, scale int32) int32 {
	fraction, exponent := math.Frexp(v) // v = fraction × 2^exponent, fraction in [0.5, 1)
	if fraction == 0.5 {
		// A power of two is the upper bound of its bucket, whatever the rounding
		// of a logarithm.
		exponent -= 2
		if scale >= 0 {
			return int32((exponent+1)<<scale) - 1
		}
		return int32(exponent >> -scale)
	}
	if scale <= 0 {
		return int32((exponent - 1) >> -scale)
	}
	return int32(math.Ceil((math.Log2(fraction)+float64(exponent))*math.Exp2(float64(scale)))) - 1
}
