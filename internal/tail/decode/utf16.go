package decode

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// UTF16 is the decoder of text in UTF-16. A byte order mark at the beginning of the
// source is left out, and what is no character becomes U+FFFD. Units are at even offsets;
// so a place at an odd one is behind a hole, which has the first half of a unit.
type UTF16 struct{ BigEndian bool }

// Scale is 3: a line of ASCII has two bytes for each one of its text, which is beside it.
func (UTF16) Scale() int { return 3 }

// Window leaves room for the text.
func (UTF16) Window(block []byte) []byte { return block[len(block)/3:] }

// LineStart returns the place behind the last newline.
func (u UTF16) LineStart(raw []byte, offset int64) int {
	odd := int(offset & 1)
	for end := len(raw); ; {
		if end = bytes.LastIndexByte(raw[:end], '\n'); end < 0 {
			return -1
		}
		at := end - (end^odd)&1 // of its unit
		if at >= 0 && at+2 <= len(raw) && u.value(raw[at], raw[at+1]) == '\n' {
			return at + 2
		}
	}
}

// value returns a unit.
func (u UTF16) value(first, second byte) rune {
	if u.BigEndian {
		first, second = second, first
	}
	return rune(first) | rune(second)<<8
}

// Decode yields whole lines up to the first that is too long, or one part of that.
func (u UTF16) Decode(in Input) Lines {
	w := wideText{UTF16: u, Input: &in, room: in.Block[: 0 : len(in.Block)/3]}
	if in.Offset == 0 && len(in.Raw) > 2 && u.value(in.Raw[0], in.Raw[1]) == '\ufeff' {
		w.begins = 2
	}
	if in.Inside {
		return w.part()
	}
	return w.whole()
}

// whole yields whole lines, the last one without its end if nothing follows it.
func (w *wideText) whole() (out Lines) {
	text, at, cuts := w.room, w.begins, cutter{}
	next, end, state := w.line(text, at, w.MaxLine-1)
	for state == lineWhole && (len(text) == 0 || len(next) <= cap(w.room)) {
		text, at = next, end
		cuts.line(Place{len(text), at})
		out.Each = w.list(out.Each, len(text), at)
		next, end, state = w.line(text, at, w.MaxLine-1)
	}
	switch {
	case len(text) == 0 && (state == lineLong || w.Limit):
		return w.part()
	case w.End && state == lineOpen && end > at && (len(text) == 0 || w.Each && len(next) < cap(w.room)):
		text, at = append(next, '\n'), end
		cuts.line(Place{len(text), at})
		out.Each = w.list(out.Each, len(text), at)
	case len(text) == 0:
		return Lines{}
	}
	out.Text, out.Cuts, out.Raw = text, cuts.cuts, at
	return out
}

// wideText is the text of one Decode.
type wideText struct {
	UTF16
	*Input
	room   []byte // for text
	begins int    // behind the byte order mark
}

// list adds a line that ends at a place, for a decoder around this one.
func (w *wideText) list(all []Line, text, raw int) []Line {
	if !w.Each {
		return nil
	}
	return append(all, Line{Text: text, Raw: raw})
}

// lineState is what was decoded of a line.
type lineState int

const (
	lineOpen  lineState = iota // all there is of it
	lineWhole                  // with its newline
	lineLong                   // as much as it may have
)

// line appends a line to text, of limit bytes without its newline at most, and returns
// where it ends.
func (w *wideText) line(text []byte, at, limit int) ([]byte, int, lineState) {
	limit += len(text)
	for {
		if at+8 <= len(w.Raw) && len(text)+4 <= limit && w.Offset&1 == 0 {
			if c, ok := w.fourLetters(at); ok {
				text, at = append(text, c[0], c[1], c[2], c[3]), at+8
				continue
			}
		}
		r, n := w.rune(at)
		switch {
		case n == 0:
			return text, at, lineOpen
		case r == '\n':
			return append(text, '\n'), at + n, lineWhole
		case len(text)+utf8.RuneLen(r) > limit:
			return text, at, lineLong
		}
		text, at = utf8.AppendRune(text, r), at+n
	}
}

// fourLetters returns the next four characters, if all are ASCII, and none ends a line.
func (w *wideText) fourLetters(at int) (c [4]byte, ok bool) {
	x := binary.LittleEndian.Uint64(w.Raw[at:])
	if w.BigEndian {
		x = x>>8 | x<<56
	}
	if x&0xff80ff80ff80ff80 != 0 {
		return c, false
	}
	c = [4]byte{byte(x), byte(x >> 16), byte(x >> 32), byte(x >> 48)}
	return c, c[0] != '\n' && c[1] != '\n' && c[2] != '\n' && c[3] != '\n'
}

// rune returns a character and its size in raw bytes, 0 if it is not complete.
func (w *wideText) rune(at int) (rune, int) {
	r, n := w.unit(at)
	if n == 0 || !utf16.IsSurrogate(r) {
		return r, n
	}
	second, m := w.unit(at + n)
	if m == 0 && !w.End {
		return 0, 0
	}
	if both := utf16.DecodeRune(r, second); both != utf8.RuneError {
		return both, n + m
	}
	return utf8.RuneError, n
}

// unit returns a unit and its size in raw bytes. Where a hole begins or ends within a
// unit, its other byte is a NUL of the hole.
func (w *wideText) unit(at int) (rune, int) {
	switch {
	case at == 0 && w.Offset&1 == 1 && len(w.Raw) > 0:
		return w.value(0, w.Raw[0]), 1
	case at+2 <= len(w.Raw):
		return w.value(w.Raw[at], w.Raw[at+1]), 2
	case at+1 == len(w.Raw) && w.End:
		return w.value(w.Raw[at], 0), 1
	}
	return 0, 0
}

// part yields one part of a line that is too long, or the last of its parts.
func (w *wideText) part() Lines {
	text := w.room
	if w.Inside {
		text = append(text, wire.SplitGoesOn...)
	}
	begin := len(text)
	text, at, state := w.line(text, w.begins, lines.PartLimit(w.MaxLine))
	goesOn := false
	switch {
	case state == lineWhole:
	case len(text) == begin:
		return Lines{}
	case state == lineOpen && w.End:
		text = append(text, '\n')
	case state == lineLong || w.Limit:
		text, goesOn = append(append(text, wire.SplitMark...), '\n'), true
	default:
		return Lines{}
	}
	return Lines{Text: text, Raw: at, Inside: goesOn, Split: goesOn}
}

// cutter chooses the places between the chunks of a text.
type cutter struct {
	cuts       []Place
	from, last Place
	lines      int // behind from
}

// line adds a line that ends at a place.
func (c *cutter) line(end Place) {
	if c.lines > 0 && (end.Text-c.from.Text > wire.MaxCutText || c.lines == wire.MaxCutLines) {
		c.cuts, c.from, c.lines = append(c.cuts, c.last), c.last, 0
	}
	c.last = end
	c.lines++
}
