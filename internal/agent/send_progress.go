package agent

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// progressLine shows on a terminal how far send is. Elsewhere it shows nothing.
//
// Each line is drawn over the one before, and the cursor stays at its beginning: so what the
// log writes meanwhile begins there, too.
type progressLine struct {
	out   io.Writer // nil: no terminal
	began time.Time
	drawn time.Time // when it was drawn last; zero: it is not shown

	recent [rateSamples]progressSample // the last ones, the oldest first
}

// progressSample is how far send was at a time.
type progressSample struct {
	at    time.Time
	bytes int64 // of text that are acknowledged
	done  float64
}

// rateSamples is over how many draws the rate is measured.
const rateSamples = 15

// drawEvery is the pause between two draws.
const drawEvery = 200 * time.Millisecond

// newProgressLine draws on f if it is a terminal.
func newProgressLine(f *os.File, now time.Time) *progressLine {
	p := &progressLine{began: now}
	if fi, err := f.Stat(); err == nil && fi.Mode()&fs.ModeCharDevice != 0 &&
		os.Getenv("TERM") != "dumb" {
		p.out = f
	}
	return p
}

// show draws how far send is: text that was committed, its lines, and which part of all
// work is done, from 0 to 1.
func (p *progressLine) show(now time.Time, bytes int64, lines uint64, done float64) {
	if p.out == nil || now.Sub(p.drawn) < drawEvery {
		return
	}
	p.drawn = now
	copy(p.recent[:], p.recent[1:])
	p.recent[rateSamples-1] = progressSample{now, bytes, done}
	io.WriteString(p.out, "\x1b[K"+p.text(bytes, lines, done)+"\r") // it is for eyes only
}

// text is the line: part, bytes, lines, rate, time left.
func (p *progressLine) text(bytes int64, lines uint64, done float64) string {
	last, first := p.recent[rateSamples-1], p.recent[0]
	for i := 0; first.at.IsZero(); i++ {
		first = p.recent[i]
	}
	text := fmt.Sprintf("%3.0f%%  %s  %s lines", 100*done, sizeText(float64(bytes)), grouped(lines))
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 {
		return text
	}
	text += fmt.Sprintf("  %s/s", sizeText(float64(last.bytes-first.bytes)/took))
	if worked := (last.done - first.done) / took; worked > 0 {
		left := time.Duration((1 - done) / worked * float64(time.Second))
		text += fmt.Sprintf("  %s left", max(left, 0).Round(time.Second))
	}
	return text
}

// clear removes the line.
func (p *progressLine) clear() {
	if p.out != nil && !p.drawn.IsZero() {
		io.WriteString(p.out, "\x1b[K")
		p.drawn = time.Time{}
	}
}

// sizeText writes bytes with three or four digits.
func sizeText(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for n >= 1000 && len(units) > 1 {
		n, units = n/1024, units[1:]
	}
	if units[0] == "B" || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[0])
	}
	return fmt.Sprintf("%.1f %s", n, units[0])
}

// grouped writes a number with a space between thousands.
func grouped(n uint64) string {
	text := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}
