// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Line is how a contestant is drawn.
type Line struct {
	Name, Label string
	Color       color.Color
	Dashed      bool
}

// The size of one of the diagrams, and the height of a line of the legend.
const (
	width, height = 13 * vg.Centimeter, 9 * vg.Centimeter
	entryHeight   = 6 * vg.Millimeter
)

// Plot draws growths as diagrams of CPU time, two side by side, both axes
// logarithmic, as SVG.
func Plot(out io.Writer, growths []Growth, lines []Line) error {
	growths = slices.DeleteFunc(slices.Clone(growths), func(g Growth) bool { return !g.has(lines) })
	if len(growths) == 0 {
		return fmt.Errorf("nothing was measured that could be drawn")
	}
	var entries legend
	const columns = 2
	rows := (len(growths) + columns - 1) / columns
	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, columns)
	}
	for i := range growths {
		p, err := diagram(&growths[i], lines, &entries)
		if err != nil {
			return err
		}
		grid[i/columns][i%columns] = p
	}
	canvas := vgsvg.New(columns*width, vg.Length(rows)*height+entries.height())
	page := draw.New(canvas)
	// Dark pages show it on a white card.
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: 8 * vg.Millimeter, PadY: 8 * vg.Millimeter,
		PadTop: entries.height() + 4*vg.Millimeter, PadBottom: 4 * vg.Millimeter, PadLeft: 4 * vg.Millimeter, PadRight: 6 * vg.Millimeter}
	for y, row := range plot.Align(grid, tiles, page) {
		for x, c := range row {
			if grid[y][x] != nil {
				grid[y][x].Draw(c)
			}
		}
	}
	entries.draw(page)
	_, err := canvas.WriteTo(out)
	return err
}

// legend is the one legend of all diagrams.
type legend []entry

type entry struct {
	label      string
	thumbnails []plot.Thumbnailer
}

const legendColumns = 4

func (l *legend) add(label string, thumbnails ...plot.Thumbnailer) {
	if !slices.ContainsFunc(*l, func(e entry) bool { return e.label == label }) {
		*l = append(*l, entry{label, thumbnails})
	}
}

func (l legend) height() vg.Length {
	return vg.Length((len(l)+legendColumns-1)/legendColumns)*entryHeight + 4*vg.Millimeter
}

// draw puts the legend at the top of the page.
func (l legend) draw(page draw.Canvas) {
	columnWidth := (page.Max.X - page.Min.X - 1*vg.Centimeter) / legendColumns
	for i, e := range l {
		one := plot.NewLegend()
		one.TextStyle.Font, one.ThumbnailWidth = typeface(10), 1*vg.Centimeter
		one.Left, one.Top = true, true
		one.Add(" "+e.label, e.thumbnails...)
		at := page
		at.Min.X += 1*vg.Centimeter + vg.Length(i%legendColumns)*columnWidth
		at.Max.Y -= 4*vg.Millimeter + vg.Length(i/legendColumns)*entryHeight
		one.Draw(at)
	}
}

func typeface(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// has tells whether there is anything to draw.
func (g *Growth) has(lines []Line) bool {
	return slices.ContainsFunc(lines, func(l Line) bool {
		at, _ := g.Of(l.Name)
		return len(at) > 0
	})
}

func diagram(g *Growth, lines []Line, entries *legend) (*plot.Plot, error) {
	p := plot.New()
	// The library leaves room above for what a long label would not take.
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = g.Title, g.Label, "CPU time, ms"
	least, most := math.Inf(1), 0.0
	p.Add(plotter.NewGrid())
	for _, line := range lines {
		at, ms := g.Of(line.Name)
		if len(at) == 0 {
			continue
		}
		points := make(plotter.XYs, len(at))
		for i := range at {
			points[i].X, points[i].Y = at[i], ms[i]
			least, most = min(least, ms[i]), max(most, ms[i])
		}
		l, s, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", line.Name, err)
		}
		l.Color, s.Color, l.Width = line.Color, line.Color, 1.4
		s.Shape, s.Radius = draw.CircleGlyph{}, 2
		if line.Dashed {
			l.Dashes = []vg.Length{4, 3}
		}
		p.Add(l, s)
		entries.add(line.Label, l, s)
	}
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	p.X.Min, p.X.Max = decade(p.X.Min, math.Floor), decade(p.X.Max, math.Ceil)
	p.Y.Min, p.Y.Max = decade(least, math.Floor), decade(most, math.Ceil)
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		style.Font = typeface(10)
	}
	p.Title.TextStyle.Font.Size = 12
	return p, nil
}

// decade rounds to a power of ten.
func decade(v float64, round func(float64) float64) float64 {
	return math.Pow(10, round(math.Log10(v)))
}

// decades marks the powers of ten with numbers, and what is between with lines.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(least, most float64) (ticks []plot.Tick) {
	for power := decade(least, math.Floor); power <= most; power *= 10 {
		label := number(power)
		if power < 1 {
			label = fmt.Sprint(power)
		}
		ticks = append(ticks, plot.Tick{Value: power, Label: label})
		for i := 2.0; i < 10 && i*power < most; i++ {
			ticks = append(ticks, plot.Tick{Value: i * power})
		}
	}
	return ticks
}
