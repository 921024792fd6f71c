package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"testing"
)

// TestFigure: a figure is whole XML, and has a point for each value.
func TestFigure(t *testing.T) {
	f := figure{sizes: []int{1_000_000, 10_000_000}, panels: []panel{
		{title: "M lines/s", series: [][]float64{{5, 6}, {4, 4.5}, {3.1, 3}}},
		{title: "peak MiB", series: [][]float64{{18, 18}, {40, 41}, {200, 210}}},
	}}
	text := f.svg()
	points, places := 0, make(map[string]bool)
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		e, ok := token.(xml.StartElement)
		if ok && e.Name.Local == "circle" {
			points++
		}
		if ok && e.Name.Local == "text" && e.Attr[0].Value == "end" { // what stands beside a line of the grid
			place := e.Attr[1].Value + " " + e.Attr[2].Value
			if places[place] || e.Attr[1].Value != "38" && e.Attr[1].Value != "298" {
				t.Errorf("a number stands at %s", place)
			}
			places[place] = true
		}
	}
	if want := len(costConns) + 2*2*len(costConns); points != want {
		t.Errorf("%d circles, want %d\n%s", points, want, text)
	}
}

func TestRoundStep(t *testing.T) {
	for most, want := range map[float64]float64{0: 1, 6.2: 2, 0.21: 0.05, 230: 50, 1: 0.2, 9.9: 2} {
		if got := roundStep(most); got < want*0.999 || got > want*1.001 {
			t.Errorf("up to %v: every %v, want %v", most, got, want)
		}
	}
}

func TestWholeNumbers(t *testing.T) {
	got, err := wholeNumbers("1e6,250")
	if err != nil || len(got) != 2 || got[0] != 1_000_000 || got[1] != 250 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1e6,", "1.5", "-3", "x"} {
		if _, err := wholeNumbers(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
