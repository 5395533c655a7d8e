// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/color"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func growth() Growth {
	tab := table()
	g := Growth{Title: "Sockets", Label: "sockets"}
	for _, c := range tab.Contests {
		g.Points = append(g.Points, Point{At: c.Sockets, Contest: c})
	}
	return g
}

func TestGrowth(t *testing.T) {
	g := growth()
	at, ms := g.Of("own")
	assert.Equal(t, []float64{1_000, 10_000}, at)
	assert.Equal(t, []float64{1.65, 12.5}, ms)
	at, _ = g.Of("none")
	assert.Empty(t, at)
	tab := table()
	assert.Equal(t, `| Sockets | 1,000 | 10,000 |
|---|---|---|
| **F** | 1.10 ms | 10.0 ms |
| ours | 1.65 ms | 12.5 ms |
| theirs | 110 ms | – |
`, g.Markdown(tab.Rows))
}

func TestPlot(t *testing.T) {
	lines := []Line{
		{Name: "floor", Label: "the floor", Color: color.Black, Dashed: true},
		{Name: "own", Label: "our own", Color: color.RGBA{B: 0xff, A: 0xff}},
		{Name: "none", Label: "of nobody", Color: color.Black},
	}
	var out bytes.Buffer
	empty := Growth{Title: "Nothing measured", Points: []Point{{At: 1, Contest: Contest{Sockets: 10}}}}
	require.NoError(t, Plot(&out, []Growth{growth(), empty}, lines))

	var texts []string
	paths := 0
	for d := xml.NewDecoder(&out); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "path" {
				paths++
			}
		case xml.CharData:
			if text := strings.TrimSpace(string(token)); text != "" {
				texts = append(texts, text)
			}
		}
	}
	assert.NotZero(t, paths)
	for _, want := range []string{"Sockets", "sockets", "CPU time, ms", "the floor", "our own", "1,000", "10,000", "1", "10", "100"} {
		assert.Contains(t, texts, want)
	}
	assert.NotContains(t, texts, "of nobody")
	assert.NotContains(t, texts, "Nothing measured")
}

func TestPlotOfNothing(t *testing.T) {
	assert.Error(t, Plot(io.Discard, nil, nil))
}

func TestDecades(t *testing.T) {
	ticks := decades{}.Ticks(0.1, 100)
	var labels []string
	for _, tick := range ticks {
		if !tick.IsMinor() {
			labels = append(labels, tick.Label)
		}
	}
	assert.Equal(t, []string{"0.1", "1", "10", "100"}, labels)
	assert.Len(t, ticks, 3*9+1)
}
