// Package load makes lines that prove themselves, and sends them as programs
// do: into files that rotate, over plain connections, in datagrams. A line says
// whose it is and which, and ends in the CRC-32 of all that:
// "s12 345 padding 89abcdef", 46 to 328 bytes.
package load

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strconv"
)

// The length of a line, without its newline.
const (
	Least = 46
	Most  = 328
)

var padding = bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog; "), 10)

// Seed chooses the lengths and the padding. The same line of the same seed is
// always the same bytes.
type Seed uint64

// Append appends line seq of source src to dst, with its newline, by seed 0.
func Append(dst []byte, src, seq int) []byte { return Seed(0).Append(dst, src, seq) }

// Append appends line seq of source src to dst, with its newline.
func (s Seed) Append(dst []byte, src, seq int) []byte {
	at := len(dst)
	dst = append(dst, 's')
	dst = strconv.AppendInt(dst, int64(src), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(seq), 10)
	dst = append(dst, ' ')
	h := uint64(s)*0x9e3779b97f4a7c15 ^ uint64(src)*2654435761 ^ uint64(seq)*2246822519
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	length := Least + int(h%(Most-Least+1))
	if pad := length - (len(dst) - at) - 9; pad > 0 {
		from := int(h>>40) % 45
		dst = append(dst, padding[from:from+pad]...)
	}
	sum := crc32.ChecksumIEEE(dst[at:])
	dst = append(dst, ' ')
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[sum>>shift&15])
	}
	return append(dst, '\n')
}

// Block appends n lines of source src, the first being line first.
func (s Seed) Block(dst []byte, src, first, n int) []byte {
	for seq := first; seq < first+n; seq++ {
		dst = s.Append(dst, src, seq)
	}
	return dst
}

var errLine = errors.New("not a whole line of ours")

// Parse reads a line back, without its newline. What it returns without an
// error is a line as it was made, whatever the seed.
func Parse(line []byte) (src, seq int, err error) {
	n := len(line) - 9
	if n < 4 || line[0] != 's' || line[n] != ' ' {
		return 0, 0, errLine
	}
	var sum uint32
	for _, c := range line[n+1:] {
		switch {
		case '0' <= c && c <= '9':
			sum = sum<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			sum = sum<<4 | uint32(c-'a'+10)
		default:
			return 0, 0, errLine
		}
	}
	if crc32.ChecksumIEEE(line[:n]) != sum {
		return 0, 0, errLine
	}
	src, rest, ok := number(line[1:n])
	if !ok {
		return 0, 0, errLine
	}
	if seq, _, ok = number(rest); !ok {
		return 0, 0, errLine
	}
	return src, seq, nil
}

// number reads digits up to a space, or to the end.
func number(b []byte) (n int, rest []byte, ok bool) {
	for i, c := range b {
		if c == ' ' {
			return n, b[i+1:], i > 0
		}
		if c < '0' || c > '9' || i > 15 {
			return 0, nil, false
		}
		n = 10*n + int(c-'0')
	}
	return n, nil, len(b) > 0
}
