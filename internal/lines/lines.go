// Package lines divides text: lines that are too long into marked parts, and text
// into chunks that one record of the collector can hold.
//
// A line longer than the bound becomes several lines. Each but the last ends with
// wire.SplitMark, each but the first begins with wire.SplitGoesOn, and no rune is
// divided. The marks are not in the source and have no offset there.
package lines

import (
	"bytes"
	"iter"
	"unicode/utf8"

	"fanin/internal/wire"
)

// MinLimit is the shortest bound on a line: a part must hold both marks and some text.
const MinLimit = 256

// marks is the number of bytes that a part has beyond its text, its newline included.
const marks = len(wire.SplitMark) + 1 + len(wire.SplitGoesOn)

var newline = []byte{'\n'}

// Count returns the number of newlines in text.
func Count(text []byte) int { return bytes.Count(text, newline) }

// FirstLong returns where the first line of more than limit bytes, its newline
// included, begins in text; len(text) if there is none. A line whose end is not in
// text counts by what is there. Lines are not looked at one by one: from each line's
// beginning it jumps to the last line end within limit.
func FirstLong(text []byte, limit int) int {
	at := 0
	for len(text)-at > limit {
		end := bytes.LastIndexByte(text[at:at+limit], '\n')
		if end < 0 {
			return at
		}
		at += end + 1
	}
	return len(text)
}

// Split appends text, whole lines, to dst, with every line of more than limit bytes,
// its newline included, divided into parts of at most limit bytes. It returns how
// many lines it divided.
func Split(dst, text []byte, limit int) (out []byte, divided int) {
	for {
		n := FirstLong(text, limit)
		dst = append(dst, text[:n]...)
		if text = text[n:]; len(text) == 0 {
			return dst, divided
		}
		dst, text, _ = SplitFirst(dst, text, limit)
		divided++
	}
}

// SplitFirst divides the first line of text, which is longer than limit, and appends
// its parts to dst. When text ends before the line does, rest is what there is of its
// last part, and goesOn tells that wire.SplitGoesOn belongs before it.
func SplitFirst(dst, text []byte, limit int) (out, rest []byte, goesOn bool) {
	prefix := 0
	for {
		end := bytes.IndexByte(text[:min(len(text), limit-prefix)], '\n')
		if end >= 0 {
			return append(dst, text[:end+1]...), text[end+1:], false
		}
		if len(text) <= limit-prefix-1 {
			return dst[:len(dst)-prefix], text, prefix > 0
		}
		cut := wire.CutLine(text, limit-len(wire.SplitMark)-1-prefix)
		dst = append(dst, text[:cut]...)
		dst = append(dst, wire.SplitMark...)
		dst = append(dst, '\n')
		dst = append(dst, wire.SplitGoesOn...)
		text, prefix = text[cut:], len(wire.SplitGoesOn)
	}
}

// SplitRecord appends a record's line, as wire.AppendRecord makes it, without its newline.
// If it is longer than limit bytes with its newline, it is divided into parts of at most
// limit bytes, and no escape is divided.
func SplitRecord(dst, line []byte, limit int) (out []byte, divided bool) {
	prefix := 0
	for len(line)+prefix >= limit {
		n := wire.CutLine(line, limit-len(wire.SplitMark)-1-prefix)
		n -= wire.CutsEscape(line[:n])
		dst = append(append(dst, line[:n]...), wire.SplitMark...)
		dst = append(append(dst, '\n'), wire.SplitGoesOn...)
		line, prefix, divided = line[n:], len(wire.SplitGoesOn), true
	}
	return append(dst, line...), divided
}

// PartLimit returns how many bytes of a line's text a part has at most when lines
// have at most limit bytes.
func PartLimit(limit int) int { return limit - marks }

// SplitSize returns how many bytes n bytes of text have at most after Split.
func SplitSize(n, limit int) int {
	part := limit - marks - utf8.UTFMax
	if n < part { // most often, and a division takes as long as all else for a line
		return n + marks
	}
	return n + (n/part+1)*marks
}

// Chunks divides whole lines into chunks that need no cut: at most wire.MaxCutText
// bytes, or one line, and at most wire.MaxCutLines lines. The same text is always
// divided in the same way.
func Chunks(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			n := ChunkLength(text)
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// ChunkLength returns the length of the first chunk of text.
func ChunkLength(text []byte) int {
	n := len(text)
	if n > wire.MaxCutText {
		if n = bytes.LastIndexByte(text[:wire.MaxCutText], '\n') + 1; n == 0 {
			return bytes.IndexByte(text, '\n') + 1 // one line
		}
	}
	if Count(text[:n]) <= wire.MaxCutLines {
		return n
	}
	// Counting many bytes is faster than looking for each newline: it comes close to the
	// last line in ever smaller steps.
	end, left := 0, wire.MaxCutLines
	for step := 4 << 10; step >= 64; step /= 2 {
		for end+step <= n {
			count := Count(text[end : end+step])
			if count >= left {
				break
			}
			end, left = end+step, left-count
		}
	}
	for range left {
		end += bytes.IndexByte(text[end:n], '\n') + 1
	}
	return end
}
