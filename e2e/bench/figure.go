package main

import (
	"bytes"
	"fmt"
	"math"
)

// figure is some panels side by side: a value over the number of lines, one series for each number of
// connections. It is drawn for light and for dark pages.
type figure struct {
	sizes  []int // of lines, ascending
	panels []panel
}

// panel shows one value.
type panel struct {
	title  string
	of     func(*sample) float64
	series [][]float64 // for each of costConns, a value for each size
}

// Sizes of a figure, in pixels.
const (
	panelWidth  = 260
	panelHeight = 250
	figureTop   = 34 // the legend's
	plotLeft    = 44
	plotRight   = 14
	plotTop     = 28
	plotBottom  = 40
)

const figureStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.paper { fill: #ffffff } .grid { stroke: #d0d7de } .line { fill: none; stroke-width: 2 } .end { text-anchor: end } .mid { text-anchor: middle }
.s0 { stroke: #0969da; fill: #0969da } .s1 { stroke: #bc4c00; fill: #bc4c00 } .s2 { stroke: #1a7f37; fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.paper { fill: #0d1117 } .grid { stroke: #30363d }
.s0 { stroke: #58a6ff; fill: #58a6ff } .s1 { stroke: #f0883e; fill: #f0883e } .s2 { stroke: #3fb950; fill: #3fb950 }
}
.line { fill: none }
</style>
`

// svg is the figure as a file.
func (f *figure) svg() []byte {
	var b bytes.Buffer
	width, height := panelWidth*len(f.panels), figureTop+panelHeight
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %[1]d %[2]d\">\n%s"+
		"<rect class=\"paper\" width=\"%[1]d\" height=\"%[2]d\"/>\n", width, height, figureStyle)
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"20\">connections:</text>\n", plotLeft)
	for i, conns := range costConns {
		x := plotLeft + 90 + 90*i
		fmt.Fprintf(&b, "<circle class=\"s%d\" cx=\"%d\" cy=\"16\" r=\"4\"/><text x=\"%d\" y=\"20\">%s</text>\n", i, x, x+10, thousands(conns))
	}
	for i := range f.panels {
		f.panel(&b, &f.panels[i], i*panelWidth)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// panel draws one panel, whose left edge is at x.
func (f *figure) panel(b *bytes.Buffer, p *panel, x int) {
	left, right := float64(x+plotLeft), float64(x+panelWidth-plotRight)
	top, bottom := float64(figureTop+plotTop), float64(figureTop+panelHeight-plotBottom)
	fmt.Fprintf(b, "<text x=\"%.0f\" y=\"%.0f\">%s</text>\n", left, top-12, p.title)
	most := 0.0
	for _, values := range p.series {
		for _, v := range values {
			most = max(most, v)
		}
	}
	step := roundStep(most)
	most = step * math.Ceil(most/step)
	y := func(v float64) float64 { return bottom - (bottom-top)*v/most }
	for v := 0.0; v <= most*1.001; v += step {
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%.0f\" y1=\"%.1f\" x2=\"%.0f\" y2=\"%.1[2]f\"/>"+
			"<text class=\"end\" x=\"%.0[4]f\" y=\"%.1[5]f\">%.4[6]g</text>\n",
			left, y(v), right, left-6, y(v)+4, v)
	}
	at := func(i int) float64 { return left + (right-left)*(float64(i)+0.5)/float64(len(f.sizes)) }
	for i, lines := range f.sizes {
		fmt.Fprintf(b, "<text class=\"mid\" x=\"%.1f\" y=\"%.0f\">%s</text>\n", at(i), bottom+18, million(lines))
	}
	fmt.Fprintf(b, "<text class=\"mid\" x=\"%.0f\" y=\"%.0f\">lines</text>\n", (left+right)/2, bottom+34)
	for s, values := range p.series {
		fmt.Fprintf(b, "<polyline class=\"s%d line\" points=\"", s)
		for i, v := range values {
			fmt.Fprintf(b, "%.1f,%.1f ", at(i), y(v))
		}
		b.WriteString("\"/>\n")
		for i, v := range values {
			fmt.Fprintf(b, "<circle class=\"s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", s, at(i), y(v))
		}
	}
}

// thousands writes a number below a million with a comma.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// roundStep is the distance of about four lines of a grid up to a value: 1, 2 or 5, times a power of ten.
func roundStep(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, n := range []float64{1, 2, 5} {
		if most/(n*power) <= 5 {
			return n * power
		}
	}
	return 10 * power
}
