package decode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// reader reads a source with a decoder as a follower does: in blocks from one size up to the
// largest, each batch from the place that the one before reported.
type reader struct {
	testing.TB
	decoder        Decoder
	raw            []byte
	first, largest int // sizes of blocks
	maxLine        int
	end            bool
	held           time.Duration
}

// decode decodes one batch at a place.
func (r *reader) decode(at int, inside bool, size int) (out Lines, short bool) {
	block := make([]byte, size)
	window := r.decoder.Window(block)
	n := copy(window, r.raw[at:])
	in := Input{Block: block, Raw: window[:n], Offset: int64(at), Before: r.raw[max(0, at-wire.TailSize):at], Inside: inside,
		End: r.end && at+n == len(r.raw), Limit: n == len(window) && size >= r.largest, MaxLine: r.maxLine, Held: r.held,
		Back: func(n int) []byte { return r.raw[max(0, at-n):at] }}
	before := bytes.Clone(in.Raw)
	if out = r.decoder.Decode(in); out.Short && size >= r.largest {
		in.Limit = true
		out = r.decoder.Decode(in)
	}
	if !bytes.Equal(before, in.Raw) {
		r.Fatal("the raw bytes were changed")
	}
	return out, len(out.Text) == 0 && (n == len(window) || out.Short)
}

// batch decodes at a place, in blocks that grow while no line is complete.
func (r *reader) batch(at int, inside bool) Lines {
	for size := r.first; ; size = min(4*size, r.largest) {
		out, short := r.decode(at, inside, size)
		if short && size < r.largest {
			continue
		}
		if len(out.Text) > 0 {
			checkLines(r, out, r.maxLine, len(r.raw)-at)
			if len(out.Marks) > wire.MaxMarks || len(out.Text)+markRoom*len(out.Marks) > size/2 {
				r.Fatalf("%d marks and %d bytes of text in a block of %d", len(out.Marks), len(out.Text), size)
			}
		}
		return out
	}
}

// all decodes from a place on, until no line is complete. A line comes with its time.
func (r *reader) all(at int, inside bool) (got []string, to int) {
	for {
		out := r.batch(at, inside)
		if len(out.Text) == 0 {
			return got, at
		}
		got = append(got, shown(out)...)
		at, inside = at+out.Raw, out.Inside
	}
}

// shown are the lines of a batch, with their times.
func shown(out Lines) (all []string) {
	b := wire.Batch{Text: out.Text, Marks: out.Marks}
	for labels, text := range b.Runs() {
		for line := range bytes.Lines(text) {
			at := ""
			if !labels.Time.IsZero() {
				at = labels.Time.UTC().Format(time.RFC3339Nano) + " "
			}
			all = append(all, at+string(line[:len(line)-1]))
		}
	}
	return all
}

// container writes what a container puts out, as a runtime does.
type container struct {
	docker bool
	raw    []byte
	n      int       // records
	open   [2]string // lines that have begun
	since  [2]string // when
	want   []string  // lines, in the order in which they end
	ends   []int     // places without an open line
}

// write writes a part of a line.
func (c *container) write(stream int, text string, more bool) {
	c.n++
	at := time.Unix(1_700_000_000, int64(c.n)*1_000_003).UTC().Format(time.RFC3339Nano)
	name := []string{"stdout", "stderr"}[stream]
	if c.docker {
		if !more {
			text += "\n"
		}
		b, _ := json.Marshal(map[string]string{"log": text})
		c.raw = fmt.Appendf(c.raw, "%s,\"stream\":%q,\"time\":%q}\n", b[:len(b)-1], name, at)
		text = strings.TrimSuffix(text, "\n")
	} else {
		tag := "F"
		if more {
			tag = "P"
		}
		c.raw = fmt.Appendf(c.raw, "%s %s %s %s\n", at, name, tag, text)
	}
	if c.since[stream] == "" {
		c.since[stream] = at
	}
	if c.open[stream] += text; !more {
		c.want = append(c.want, c.since[stream]+" "+c.open[stream])
		c.open[stream], c.since[stream] = "", ""
	}
	if c.since == [2]string{} {
		c.ends = append(c.ends, len(c.raw))
	}
}

// random writes records of random sizes.
func (c *container) random(r *rand.Rand, records, longest int) {
	for range records {
		text := []string{"", "é", "\"\"", "\\", "\t<&>", "\u2028😀", "\r"}[r.IntN(7)] + fmt.Sprint(c.n) +
			strings.Repeat("x", r.IntN(1+r.IntN(longest)))
		stream := r.IntN(2)
		if stream == 1 {
			text = strings.NewReplacer("0", "A", "1", "B", "2", "C", "3", "D", "4", "E", "5", "F", "6", "G", "7", "H",
				"8", "I", "9", "J", "x", "X").Replace(text) // its letters tell whose a part is
		}
		c.write(stream, text, r.IntN(3) == 0)
	}
	for stream := range 2 {
		if c.since[stream] != "" {
			c.write(stream, []string{"x", "X"}[stream], false)
		}
	}
}

func (c *container) reader(t testing.TB) *reader {
	r := &reader{TB: t, decoder: CRI{}, raw: c.raw, first: 16 << 10, largest: 2<<20 + 8<<10, maxLine: wire.MaxLine}
	if c.docker {
		r.decoder = Docker{}
	}
	return r
}

// eachFormat runs a test for both formats.
func eachFormat(t *testing.T, f func(t *testing.T, docker bool)) {
	t.Run("cri", func(t *testing.T) { f(t, false) })
	t.Run("docker", func(t *testing.T) { f(t, true) })
}

// same compares two lists of lines.
func same(t testing.TB, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d of %d, want %d: %.200q, want %.200q", i, len(got), len(want),
				slices.Concat(got, make([]string, i+1))[i], slices.Concat(want, make([]string, i+1))[i])
		}
	}
}

// TestJoin: lines come whole, in the order in which they end, with the time at which they
// began, in whatever blocks they are read.
func TestJoin(t *testing.T) {
	eachFormat(t, func(t *testing.T, docker bool) {
		for seed := range uint64(40) {
			c := &container{docker: docker}
			rnd := rand.New(rand.NewPCG(seed, 1))
			c.random(rnd, 300, []int{5, 100, 20_000}[seed%3])
			r := c.reader(t)
			r.first = []int{16 << 10, 64 << 10, 1 << 20}[rnd.IntN(3)]
			got, to := r.all(0, false)
			same(t, got, c.want)
			if to != len(c.raw) {
				t.Fatalf("%d of %d bytes", to, len(c.raw))
			}
		}
	})
}

// TestJoinPlaces: a fresh decoder at each place, and at each cut, yields the same following
// lines, also where lines are divided because they are too long or the block is too small.
func TestJoinPlaces(t *testing.T) {
	eachFormat(t, func(t *testing.T, docker bool) {
		seeds := uint64(60)
		if testing.Short() {
			seeds = 9
		}
		for seed := range seeds {
			c := &container{docker: docker}
			c.random(rand.New(rand.NewPCG(seed, 2)), 200, []int{40, 300, 3000}[seed%3])
			r := c.reader(t)
			r.first, r.largest, r.maxLine = 1<<10, 16<<10, []int{256, 700, 4000}[seed/3%3]
			got, _ := r.all(0, false)
			same(t, slices.Sorted(slices.Values(joinParts(got))), slices.Sorted(slices.Values(untimed(c.want))))
			at, inside, done := 0, false, 0
			for at < len(c.raw) {
				out := r.batch(at, inside)
				if len(out.Text) == 0 {
					break
				}
				for _, cut := range out.Cuts {
					rest, _ := r.all(at+cut.Raw, true)
					same(t, rest, got[done+lines.Count(out.Text[:cut.Text]):])
				}
				done += lines.Count(out.Text)
				at, inside = at+out.Raw, out.Inside
				if done%7 == 0 {
					rest, _ := r.all(at, inside)
					same(t, rest, got[done:])
				}
			}
		}
	})
}

// untimed are lines without their times.
func untimed(all []string) (text []string) {
	for _, line := range all {
		_, rest, _ := strings.Cut(line, " ")
		text = append(text, rest)
	}
	return text
}

// joinParts makes the lines of divided ones again. The letters of a part tell whose it is.
func joinParts(got []string) (whole []string) {
	var open [2]string
	for _, line := range untimed(got) {
		rest, goesOn := strings.CutPrefix(line, wire.SplitGoesOn)
		rest, more := strings.CutSuffix(rest, wire.SplitMark)
		stream := 0
		if strings.ContainsAny(rest, "ABCDEFGHIJX") {
			stream = 1
		}
		if goesOn {
			rest = open[stream] + rest
		}
		if open[stream] = rest; !more {
			whole = append(whole, rest)
			open[stream] = ""
		}
	}
	return whole
}

// TestJoinEnds: what is open is held back until it has been for a while, or nothing follows.
func TestJoinEnds(t *testing.T) {
	eachFormat(t, func(t *testing.T, docker bool) {
		c := &container{docker: docker}
		c.write(1, "before", false)
		c.write(0, "begins ", true)
		c.write(1, "beside", false)
		c.write(0, "goes on", true)
		r := c.reader(t)
		got, at := r.all(0, false)
		same(t, got, c.want[:1])
		if out := r.batch(at, false); out.Wait != openFor {
			t.Errorf("waits for %v", out.Wait)
		}
		r.held = openFor
		got, to := r.all(at, false)
		same(t, untimed(got), []string{"beside", "begins goes on" + wire.SplitMark})
		c.write(0, " and ends", false)
		c.write(0, "last", true)
		r.raw, r.held = c.raw, 0
		got, _ = r.all(to, true)
		same(t, untimed(got), []string{wire.SplitGoesOn + " and ends"})
		r.end = true
		got, _ = r.all(at, false)
		same(t, untimed(got), []string{"beside", "begins goes on and ends", "last"})
	})
}

// TestJoinHoldsLittle: an open line holds no more than a piece of the other stream back.
func TestJoinHoldsLittle(t *testing.T) {
	eachFormat(t, func(t *testing.T, docker bool) {
		for _, text := range []string{"", "short", strings.Repeat("long", 1000)} {
			c := &container{docker: docker}
			c.write(0, "open", true)
			for range 10_000 {
				c.write(1, text, false)
			}
			c.write(0, "ends", false)
			r := c.reader(t)
			got, to := r.all(0, false)
			if to != len(c.raw) || len(got) != len(c.want)+1 {
				t.Fatalf("%d of %d bytes, %d of %d lines", to, len(c.raw), len(got), len(c.want)+1)
			}
		}
	})
}

// TestJoinEach: a decoder around this one learns the end, the place and the stream of each
// line.
func TestJoinEach(t *testing.T) {
	eachFormat(t, func(t *testing.T, docker bool) {
		c := &container{docker: docker}
		c.write(0, "one", false)
		c.write(1, "two", true)
		c.write(0, "three", false)
		c.write(1, "", false)
		r := c.reader(t)
		block := make([]byte, 4<<10)
		n := copy(r.decoder.Window(block), c.raw)
		out := r.decoder.Decode(Input{Block: block, Raw: r.decoder.Window(block)[:n], MaxLine: 1 << 10, Each: true})
		want := []Line{{Text: 4, Raw: c.ends[0]}, {Text: 10, Raw: -1}, {Text: 14, Raw: c.ends[1], Stream: 1}}
		if string(out.Text) != "one\nthree\ntwo\n" || !slices.Equal(out.Each, want) {
			t.Errorf("%q, %v, want %v", out.Text, out.Each, want)
		}
	})
}
