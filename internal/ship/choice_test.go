package ship

import (
	"math"
	"testing"

	"fanin/internal/wire"
)

// period ends a period of text over a link with a speed. seconds and left are what the samples
// say of a byte.
func period(c *choice, speed float64, samples ...sample) {
	c.measured(speed)
	if _, due := c.next(choicePeriod); due {
		c.decide(func(...wire.Encoding) []sample { return samples })
	}
}

// What the encoders do to usual lines on a slow machine.
var (
	usualZstd = sample{wire.Zstd, 4e-9, 0.15}
	usualS2   = sample{wire.S2, 1.2e-9, 0.3}
)

// TestChoice: over links of different speed, with usual samples.
func TestChoice(t *testing.T) {
	const mega = 1e6 / 8
	random := []sample{{wire.Zstd, 3e-9, 1}, {wire.S2, 1e-9, 1}}
	usual := []sample{usualZstd, usualS2}
	for _, row := range []struct {
		name    string
		begin   wire.Encoding
		speed   float64
		samples []sample
		want    wire.Encoding
	}{
		{"10 Mbit/s", wire.Plain, 10 * mega, usual, wire.Zstd},
		{"100 Mbit/s", wire.Plain, 100 * mega, usual, wire.Zstd},
		{"1 Gbit/s", wire.Plain, 1000 * mega, usual, wire.S2},
		{"1 Gbit/s, an older collector", wire.Plain, 1000 * mega, usual[:1], wire.Zstd},
		{"7 Gbit/s", wire.Zstd, 7000 * mega, usual, wire.Plain},
		{"loopback", wire.Zstd, 3e9, nil, wire.Plain},
		{"100 Mbit/s, what cannot be compressed", wire.Plain, 100 * mega, random, wire.Plain},
		{"1 Gbit/s, what cannot be compressed", wire.Zstd, 1000 * mega, random, wire.Plain},
		{"zstd is better by a little", wire.S2, 4.5e7, usual, wire.S2},
		{"S2 is better by a little", wire.Zstd, 6.7e7, usual, wire.Zstd},
	} {
		c := newChoice("auto", false)
		c.begin(wire.S2)
		c.encoding, c.better = row.begin, row.begin
		for range 5 {
			period(c, row.speed, row.samples...)
		}
		changes := uint64(1)
		if row.begin == row.want {
			changes = 0
		}
		if s := c.state(); s.Encoding != row.want || s.Changes != changes || math.Round(s.Speed) != row.speed {
			t.Errorf("%s: %+v, want %v after %d changes", row.name, s, row.want, changes)
		}
	}
}

// TestChoiceTwiceInARow: one period alone changes nothing, nor do periods that disagree.
func TestChoiceTwiceInARow(t *testing.T) {
	c := newChoice("auto", false)
	c.begin(wire.S2)
	for range 10 {
		period(c, 3e9)
		period(c, 1e6, usualZstd, usualS2)
	}
	if s := c.state(); s.Encoding != wire.Zstd || s.Changes != 0 {
		t.Errorf("%+v after periods that disagree", s)
	}
	period(c, 3e9)
	period(c, 3e9)
	if s := c.state(); s.Encoding != wire.Plain || s.Changes != 1 {
		t.Errorf("%+v after two that agree", s)
	}
}

// TestChoiceNeedsASpeed: without a measurement nothing is decided, whatever was sent.
func TestChoiceNeedsASpeed(t *testing.T) {
	c := newChoice("auto", true)
	for range 10 {
		if _, due := c.next(choicePeriod); due {
			t.Fatal("a decision without a measurement")
		}
	}
	c.measured(1e6)
	if _, due := c.next(1); !due {
		t.Error("no decision after the first measurement")
	}
	if _, due := c.next(choicePeriod - 1); due {
		t.Error("a decision inside a period")
	}
}

// TestChoiceOfASetting: what is configured is never changed.
func TestChoiceOfASetting(t *testing.T) {
	for setting, want := range map[string]wire.Encoding{"zstd": wire.Zstd, "none": wire.Plain} {
		c := newChoice(setting, setting == "zstd")
		c.begin(wire.S2)
		for range 5 {
			period(c, 3e9)
			period(c, 1e6, usualZstd, usualS2)
		}
		if s := c.state(); s.Encoding != want || s.Changes != 0 {
			t.Errorf("%s: %+v", setting, s)
		}
	}
}

// TestChoiceOfAnOlderCollector: where the next collector does not read S2, it gets zstd.
func TestChoiceOfAnOlderCollector(t *testing.T) {
	c := newChoice("auto", false)
	c.begin(wire.S2)
	for range 3 {
		period(c, 1.25e8, usualZstd, usualS2)
	}
	if e, _ := c.next(0); e != wire.S2 {
		t.Fatalf("%v", e)
	}
	c.begin(0)
	c.measured(1.25e8)
	var asked []wire.Encoding
	if _, due := c.next(choicePeriod); due {
		c.decide(func(all ...wire.Encoding) []sample { asked = all; return []sample{usualZstd} })
	}
	if e, _ := c.next(0); e != wire.Zstd || len(asked) != 1 || asked[0] != wire.Zstd {
		t.Errorf("%v; samples of %v", e, asked)
	}
}
