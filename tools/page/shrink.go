// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"slices"
)

// weight is how much a colour is worth a place: one that means something, such as that
// of a warning, is rare, but must not turn grey.
func weight(c color.RGBA, count int) int {
	low, high := min(c.R, c.G, c.B), max(c.R, c.G, c.B)
	return count * (1 + int(high-low)/4)
}

// shrink writes a picture with at most 256 colours, those that it has most of: a page
// has few but for the edges of its letters, and is a third as long so.
func shrink(in []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	// Of the lowest bits of each channel nothing is seen.
	key := func(x, y int) color.RGBA {
		r, g, b, _ := from.At(x, y).RGBA()
		return color.RGBA{uint8(r>>8) &^ 3, uint8(g>>8) &^ 3, uint8(b>>8) &^ 3, 255}
	}
	bounds := from.Bounds()
	count := make(map[color.RGBA]int)
	exact := make(map[color.RGBA]color.RGBA)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			k := key(x, y)
			count[k]++
			if _, ok := exact[k]; !ok {
				r, g, b, _ := from.At(x, y).RGBA()
				exact[k] = color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
			}
		}
	}
	keys := make([]color.RGBA, 0, len(count))
	for k := range count {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(weight(b, count[b]), weight(a, count[a])), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, k := range keys[:min(256, len(keys))] {
		palette = append(palette, exact[k])
	}
	index := make(map[color.RGBA]uint8)
	to := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			k := key(x, y)
			i, ok := index[k]
			if !ok {
				i = uint8(palette.Index(exact[k]))
				index[k] = i
			}
			to.SetColorIndex(x, y, i)
		}
	}
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
}
