// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// drawing writes memory and descriptors over the time as SVG, with what happened.
func drawing(path string, samples []sample, events []event) error {
	memory, err := diagram("Memory (RSS), MiB", samples, events, func(s sample) float64 { return s.rss })
	if err != nil {
		return err
	}
	descriptors, err := diagram("Descriptors", samples, events, func(s sample) float64 { return s.descriptors })
	if err != nil {
		return err
	}
	canvas := vgsvg.New(22*vg.Centimeter, 14*vg.Centimeter)
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadTop: 4 * vg.Millimeter, PadBottom: 4 * vg.Millimeter, PadLeft: 4 * vg.Millimeter, PadRight: 6 * vg.Millimeter, PadY: 6 * vg.Millimeter}
	for y, row := range plot.Align([][]*plot.Plot{{memory}, {descriptors}}, tiles, page) {
		[]*plot.Plot{memory, descriptors}[y].Draw(row[0])
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// colours of the events, which blind people can tell apart.
var colours = map[string]color.Color{
	"reload":          color.RGBA{R: 0x00, G: 0x00, B: 0x00, A: 0xff},
	"backend hangs":   color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
	"backend refuses": color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
	"backend is away": color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	"namespaces":      color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
}

func diagram(title string, samples []sample, events []event, value func(sample) float64) (*plot.Plot, error) {
	p := plot.New()
	p.Y.Label.Text = title
	p.X.Label.Text = "minutes"
	p.Y.Min = 0
	points := make(plotter.XYs, len(samples))
	var most float64
	for i, s := range samples {
		points[i] = plotter.XY{X: s.at.Minutes(), Y: value(s)}
		most = max(most, value(s))
	}
	line, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	line.Color = color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}
	line.Width = vg.Points(1.5)
	p.Add(line)
	p.Y.Max = most * 1.2
	named := make(map[string]bool)
	for _, e := range events {
		mark, err := plotter.NewLine(plotter.XYs{{X: e.at.Minutes(), Y: most * 1.15}, {X: (e.at + e.lasts).Minutes(), Y: most * 1.15}})
		if err != nil {
			return nil, err
		}
		mark.Color = colours[e.what]
		mark.Width = vg.Points(4)
		p.Add(mark)
		if !named[e.what] {
			named[e.what] = true
			p.Legend.Add(e.what, mark)
		}
	}
	p.Legend.Left = true
	p.Legend.Top = false
	return p, nil
}
