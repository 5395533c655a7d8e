// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"slices"
)

// The score of a beacon is RITA's idea (github.com/activecm/rita): the mean of four
// scores from 0 to 1, of the intervals, of the sizes, of the evenness over the day
// and of how much of the day the connections span.

// regularity is how alike values are, 1 for equal ones: the mean of 1 - |Bowley's
// skewness| and of alike, 1 - MAD/median. It sorts values, and uses scratch, which is
// as long.
func regularity(values, scratch []uint32) (score, alike float64) {
	if len(values) < 3 {
		return 0, 0
	}
	slices.Sort(values)
	median := middle(values)
	q1, q3 := middle(values[:len(values)/2]), middle(values[(len(values)+1)/2:])
	skew := 0.0
	// Where the middle half of the values is this narrow, its skewness is noise.
	if spread := q3 - q1; spread > median/10 && median != q1 && median != q3 {
		skew = (q1 + q3 - 2*median) / spread
	}
	for i, v := range values {
		scratch[i] = uint32(math.Abs(float64(v) - median))
	}
	slices.Sort(scratch[:len(values)])
	if median > 0 {
		alike = max(0, 1-middle(scratch[:len(values)])/median)
	}
	return (1 - math.Abs(skew) + alike) / 2, alike
}

// middle is the median of sorted values.
func middle(sorted []uint32) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	if n%2 == 1 {
		return float64(sorted[n/2])
	}
	return (float64(sorted[n/2-1]) + float64(sorted[n/2])) / 2
}

// evenness is 1 - the coefficient of variation of rates, 0 at least.
func evenness(rates []float64) float64 {
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	mean := sum / float64(len(rates))
	if mean == 0 {
		return 0
	}
	squares := 0.0
	for _, r := range rates {
		squares += (r - mean) * (r - mean)
	}
	return max(0, 1-math.Sqrt(squares/float64(len(rates)))/mean)
}
