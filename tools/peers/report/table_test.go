// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// measured is a measurement of so many microseconds each.
func measured(contestant string, allocs uint64, micros ...int) Measurement {
	m := Measurement{Contestant: contestant, First: 2 * time.Millisecond, Counted: allocs > 0, PeakRSS: 12_345_678}
	for _, us := range micros {
		m.Passes = append(m.Passes, Pass{CPU: time.Duration(us) * time.Microsecond, Allocs: allocs})
	}
	return m
}

func TestSpread(t *testing.T) {
	m := measured("a", 5, 30, 10, 20)
	assert.Equal(t, Spread{Min: 10_000, Median: 20_000, Max: 30_000}, m.CPU())
	assert.Equal(t, Spread{Min: 5, Median: 5, Max: 5}, m.Allocs())
	m = measured("a", 5, 40, 10, 30, 20)
	assert.Equal(t, Spread{Min: 10_000, Median: 25_000, Max: 40_000}, m.CPU())
	assert.Zero(t, (&Measurement{}).CPU())
}

func table() Table {
	return Table{
		Rows:  []Row{{"floor", "**F**", "nothing"}, {"own", "ours", "all"}, {"text", "theirs", "text"}, {"none", "nobody's", "?"}},
		Floor: "floor",
		Contests: []Contest{
			{Sockets: 1_000, Measurements: []Measurement{
				measured("floor", 1, 1_000, 1_200, 1_100), measured("own", 93_000, 1_500, 1_650, 1_700), measured("text", 0, 110_000),
				{Contestant: "none", Missing: errors.New("it does not exist")},
			}},
			{Sockets: 10_000, Measurements: []Measurement{
				measured("floor", 1, 10_000), measured("own", 93_000, 12_500),
				{Contestant: "text", Missing: errors.New("run up to 5000 sockets only")},
			}},
		},
	}
}

func TestMarkdown(t *testing.T) {
	tab := table()
	assert.Equal(t, `| | What it gives | 1,000 sockets | 10,000 sockets | Allocations per socket | Peak memory |
|---|---|---|---|---|---|
| **F** | nothing | 1,100 ns | 1,000 ns | 0 | 12 MB |
| ours | all | 1,650 ns, 1.50 F | 1,250 ns, 1.25 F | 9.30 | 12 MB |
| theirs | text | 110,000 ns, 100 F | – | – | 12 MB |
`, tab.Markdown())
}

func TestMarkdownWithoutFloor(t *testing.T) {
	tab := table()
	tab.Contests[1].Measurements[0] = Measurement{Contestant: "floor", Missing: errors.New("no netlink")}
	assert.Contains(t, tab.Markdown(), "| ours | all | 1,650 ns, 1.50 F | 1,250 ns | 9.30 |")
}

func TestFull(t *testing.T) {
	tab := table()
	assert.Equal(t, `### 1,000 sockets

| | Passes | CPU ns per socket: median | least | most | × F | first pass, ms | Allocations per socket | Peak memory |
|---|---|---|---|---|---|---|---|---|
| **F** | 3 | 1,100 | 1,000 | 1,200 | 1.00 | 2.00 | 0 | 12 MB |
| ours | 3 | 1,650 | 1,500 | 1,700 | 1.50 | 2.00 | 93 | 12 MB |
| theirs | 1 | 110,000 | 110,000 | 110,000 | 100 | 2.00 | – | 12 MB |

- nobody's: not available: it does not exist

### 10,000 sockets

| | Passes | CPU ns per socket: median | least | most | × F | first pass, ms | Allocations per socket | Peak memory |
|---|---|---|---|---|---|---|---|---|
| **F** | 1 | 1,000 | 1,000 | 1,000 | 1.00 | 2.00 | 0 | 12 MB |
| ours | 1 | 1,250 | 1,250 | 1,250 | 1.25 | 2.00 | 9.30 | 12 MB |

- theirs: not available: run up to 5000 sockets only

`, tab.Full())
}

func TestReplace(t *testing.T) {
	const document = "before\n<!-- begin -->\nold\n<!-- end -->\nafter\n"
	got, err := Replace(document, "<!-- begin -->", "<!-- end -->", "new\n")
	require.NoError(t, err)
	assert.Equal(t, "before\n<!-- begin -->\nnew\n<!-- end -->\nafter\n", got)
	again, err := Replace(got, "<!-- begin -->", "<!-- end -->", "new\n")
	require.NoError(t, err)
	assert.Equal(t, got, again)

	_, err = Replace(document, "<!-- start -->", "<!-- end -->", "new\n")
	assert.ErrorContains(t, err, "<!-- start -->")
	_, err = Replace("<!-- end -->\n<!-- begin -->\n", "<!-- begin -->", "<!-- end -->", "new\n")
	assert.ErrorContains(t, err, "<!-- end -->")
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1_000: "1,000", 12_345.6: "12,346", 1_234_567: "1,234,567"} {
		assert.Equal(t, want, number(v))
	}
	for v, want := range map[float64]string{0.004: "0.00", 1.126: "1.13", 9.994: "9.99", 9.996: "10.0", 12.34: "12.3", 99.96: "100", 1_234: "1,234"} {
		assert.Equal(t, want, three(v))
	}
	for v, want := range map[float64]string{0.004: "0", 0.03: "0.03", 9.27: "9.27", 92.6: "93"} {
		assert.Equal(t, want, few(v))
	}
	assert.Equal(t, "–", megabytes(0))
	assert.Equal(t, "22 MB", megabytes(21_900_000))
}
