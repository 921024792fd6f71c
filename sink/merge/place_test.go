package merge

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"fanin/sink"
)

// TestPlacesGolden: the text of places stays what it is. It is kept by scripts.
func TestPlacesGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/places.golden")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, places := range []Places{
		{{At: sink.Position{Generation: 1}}},
		{{0, 0, sink.Position{Generation: 3, Offset: 4096}}, {1, 0, sink.Position{Generation: 2}}, {17, 0, sink.Position{Generation: 9, Offset: 123456789}}},
		{{3, 12, sink.Position{Generation: 3, Offset: 4096}}, {MaxPartition, math.MaxUint64, sink.Position{Generation: 1}}},
	} {
		fmt.Fprintln(&got, places)
		read, err := ParsePlaces(places.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range read {
			fmt.Fprintf(&got, "partition %d, epoch %d, generation %d, offset %d\n", p.Partition, p.Epoch, p.At.Generation, p.At.Offset)
		}
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", &got, want)
	}
}

// TestPlaces: places come in any order, and what is none is refused.
func TestPlaces(t *testing.T) {
	p, err := ParsePlaces("2:1:5,0:3:0,1@7:2:9")
	if err != nil || p.String() != "0:3:0,1@7:2:9,2:1:5" {
		t.Errorf("%s, %v", p, err)
	}
	if at, ok := p.Of(1); !ok || at.Epoch != 7 || at.At.Offset != 9 {
		t.Errorf("partition 1: %s, %v", at, ok)
	}
	if at, ok := p.Of(3); ok || at.Partition != 3 || at.At.Generation != 0 {
		t.Errorf("partition 3: %s, %v", at, ok)
	}
	for _, text := range []string{"", ",", "0", "0:1", "1:0:", "0:1:0,", ",0:1:0", "0:1:0,0:1:1", "-1:1:0", "65536:1:0", "00:1:0",
		"0@:1:0", "0@0:1:0", "0@-1:1:0", "@1:1:0", "0:1:0 ", "0:1:0;1:1:0", "0:1:-1"} {
		if p, err := ParsePlaces(text); err == nil {
			t.Errorf("%q is read as %s", text, p)
		}
	}
}

// FuzzParsePlaces: what is read is written again as it was, but for its order.
func FuzzParsePlaces(f *testing.F) {
	for _, text := range []string{"0:1:0", "0:3:4096,1:2:0", "3@12:3:4096,0:1:0", "0@0:1:0", "0:1:0,,1:1:0", "65536:1:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlaces(text)
		if err != nil {
			return
		}
		again, err := ParsePlaces(p.String())
		if err != nil || again.String() != p.String() || len(p.String()) != len(text) {
			t.Errorf("%q is read as %s, and that as %s, %v", text, p, again, err)
		}
	})
}
