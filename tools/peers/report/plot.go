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

// The size of one of the diagrams.
const width, height = 13 * vg.Centimeter, 10 * vg.Centimeter

// Plot draws growths as diagrams of CPU time, two side by side, both axes
// logarithmic, as SVG.
func Plot(out io.Writer, growths []Growth, lines []Line) error {
	growths = slices.DeleteFunc(slices.Clone(growths), func(g Growth) bool { return len(g.Points) == 0 })
	if len(growths) == 0 {
		return fmt.Errorf("nothing was measured that could be drawn")
	}
	const columns = 2
	rows := (len(growths) + columns - 1) / columns
	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, columns)
	}
	for i := range growths {
		p, err := diagram(&growths[i], lines)
		if err != nil {
			return err
		}
		grid[i/columns][i%columns] = p
	}
	canvas := vgsvg.New(columns*width, vg.Length(rows)*height)
	page := draw.New(canvas)
	// Dark pages show it on a white card.
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: 8 * vg.Millimeter, PadY: 8 * vg.Millimeter,
		PadTop: 4 * vg.Millimeter, PadBottom: 4 * vg.Millimeter, PadLeft: 4 * vg.Millimeter, PadRight: 6 * vg.Millimeter}
	for y, row := range plot.Align(grid, tiles, page) {
		for x, c := range row {
			if grid[y][x] != nil {
				grid[y][x].Draw(c)
			}
		}
	}
	_, err := canvas.WriteTo(out)
	return err
}

func diagram(g *Growth, lines []Line) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = g.Title, g.Label, "CPU time of a scrape, ms"
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
		p.Legend.Add(line.Label, l, s)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	p.X.Min, p.X.Max = decade(p.X.Min, math.Floor), decade(p.X.Max, math.Ceil)
	p.Y.Min, p.Y.Max = decade(least, math.Floor), decade(most, math.Ceil)
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 10}
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
