package ship

import (
	"sync"

	"fanin/internal/wire"
)

// choice decides how the texts of a connection are compressed.
//
// A byte of text costs the time to compress it, and the time that the link needs for what is
// left of it. After each period of text the agent computes that sum for no compression, S2
// and zstd: from the time that the link needed for a byte in the period, and from a sample of
// the text, which it compresses both ways. It changes to the cheapest if that costs at most
// four fifths of what the present one does, twice in a row.
//
// So a change needs two periods. Where the link is nearly as fast as memory, nothing can pay,
// and no sample is taken. Until a speed is known, the choice is that of its creation.
type choice struct {
	mu       sync.Mutex
	auto     bool // false: encoding is what the configuration says
	encoding wire.Encoding
	accepted wire.Encoding // those that the collector announced
	changes  uint64
	text     int           // bytes since the last decision
	link     link          // since then
	last     float64       // the link's speed at the last decision, in bytes a second; 0: not known
	better   wire.Encoding // what the last decision would change to; encoding: nothing
	sent     Sent
}

const (
	choicePeriod = 4 << 20   // bytes of text between two decisions
	sampleSize   = 64 << 10  // bytes of a sample: a sixty-fourth of a period
	minMeasured  = 16 << 10  // bytes of a frame that show how fast the link is
	fastLink     = 1.2e9     // bytes a second: about as fast as S2 compresses
	worthwhile   = 4.0 / 5.0 // of the present costs
)

// link is what was measured of a link.
type link struct {
	seconds float64 // for a byte of each frame, in all
	frames  int
}

// speed is in bytes a second; 0: not known. It is the harmonic mean: a moment in which a buffer
// on the way takes bytes as fast as memory hardly counts.
func (l *link) speed() float64 {
	if l.frames == 0 {
		return 0
	}
	return float64(l.frames) / l.seconds
}

// newChoice returns the choice for a setting of compress. local says that the collector is on
// this machine: then nothing is compressed until the link proves slow.
func newChoice(setting string, local bool) *choice {
	c := &choice{auto: setting != "zstd" && setting != "none", encoding: wire.Zstd}
	if setting == "none" || c.auto && local {
		c.encoding = wire.Plain
	}
	c.better = c.encoding
	return c
}

// begin begins a connection to a collector that accepts these encodings, besides the usual ones.
func (c *choice) begin(accepted wire.Encoding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted, c.text, c.link = accepted, 0, link{}
	if c.encoding == wire.S2 && accepted&wire.S2 == 0 {
		c.changeLocked(wire.Zstd)
	}
	c.better = c.encoding
}

func (c *choice) changeLocked(e wire.Encoding) {
	c.encoding = e
	c.changes++
}

// next returns how to compress the next text. due says that a decision is to be made: the
// caller takes the sample of this text.
func (c *choice) next(text int) (e wire.Encoding, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text += text
	if due = c.auto && c.text >= choicePeriod && c.link.frames > 0; due {
		c.text = 0
	}
	return c.encoding, due
}

// measured notes the speed of the link after a frame of at least minMeasured bytes, in bytes a
// second; 0: it is not known.
func (c *choice) measured(speed float64) {
	if speed == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.seconds += 1 / speed
	c.link.frames++
}

// sample is what an encoding does to a text.
type sample struct {
	encoding wire.Encoding
	seconds  float64 // to compress a byte
	left     float64 // bytes of each byte
}

// plain is the sample of no compression.
var plain = sample{wire.Plain, 0, 1}

// costs returns the seconds that a byte of text costs over a link with so many bytes a second.
func (s *sample) costs(speed float64) float64 { return s.seconds + s.left/speed }

// decide ends a period with samples of a text, which take is called for where they matter.
func (c *choice) decide(take func(encodings ...wire.Encoding) []sample) {
	c.mu.Lock()
	speed, encodings := c.link.speed(), []wire.Encoding{wire.Zstd}
	c.link, c.last = link{}, speed
	if c.accepted&wire.S2 != 0 {
		encodings = append(encodings, wire.S2)
	}
	c.mu.Unlock()
	var samples []sample
	if speed < fastLink {
		samples = take(encodings...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	best := cheapest(c.encoding, speed, samples)
	if best != c.encoding && best == c.better {
		c.changeLocked(best)
	}
	c.better = best
}

// cheapest returns the encoding to use in place of the present one, which is one of the samples
// or none.
func cheapest(present wire.Encoding, speed float64, samples []sample) wire.Encoding {
	if len(samples) == 0 {
		return wire.Plain
	}
	best, now := plain, plain
	for _, s := range samples {
		if s.encoding == present {
			now = s
		}
		if s.costs(speed) < best.costs(speed) {
			best = s
		}
	}
	if best.costs(speed) > worthwhile*now.costs(speed) {
		return present
	}
	return best.encoding
}

// Compression is how a shipper compresses texts now.
type Compression struct {
	Encoding wire.Encoding
	Changes  uint64  // since the start
	Speed    float64 // of the link when that was decided last, in bytes a second; 0: not known
	Sent     Sent
}

// Sent is how many bytes of text were sent in each encoding.
type Sent struct{ Plain, S2, Zstd uint64 }

// count counts a text.
func (c *choice) count(e wire.Encoding, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e {
	case wire.S2:
		c.sent.S2 += uint64(n)
	case wire.Zstd:
		c.sent.Zstd += uint64(n)
	default:
		c.sent.Plain += uint64(n)
	}
}

func (c *choice) state() Compression {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Compression{c.encoding, c.changes, c.last, c.sent}
}
