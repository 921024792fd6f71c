package wire

import "bytes"

// A record of several lines is one line of a batch. In a batch that is Joined, the lines
// are written so that they may have newlines inside:
//
//	newline   0xc0 0x8a, the overlong form of U+000A, which UTF-8 forbids
//	0xc0      0xc0 0xc0
//
// All other bytes stay as they are, and so do all bytes of a batch that is not Joined.
const (
	recordEscape  = 0xc0
	recordNewline = 0x8a
)

// AppendRecord appends the text of a record, or of a part of it, to a line of a Joined
// batch.
func AppendRecord(dst, text []byte) []byte {
	for {
		n := bytes.IndexByte(text, recordEscape)
		if n < 0 {
			n = len(text)
		}
		for part := text[:n]; ; dst = append(dst, recordEscape, recordNewline) {
			end := bytes.IndexByte(part, '\n')
			if end < 0 {
				dst = append(dst, part...)
				break
			}
			dst, part = append(dst, part[:end]...), part[end+1:]
		}
		if text = text[n:]; len(text) == 0 {
			return dst
		}
		dst, text = append(dst, recordEscape, recordEscape), text[1:]
	}
}

// IsRecord reports whether text that AppendRecord made is other than the bytes of its records,
// so that its batch must be Joined.
func IsRecord(text []byte) bool { return bytes.IndexByte(text, recordEscape) >= 0 }

// CutsEscape returns 1 if a part of a record's line ends between the two bytes of an escape, which
// must not be divided, else 0.
func CutsEscape(part []byte) int {
	return (len(part) - len(bytes.TrimRight(part, "\xc0"))) % 2
}

// AppendRecordText appends the text of a record to dst: what AppendRecord made a line of.
func AppendRecordText(dst, line []byte) []byte {
	for {
		n := bytes.IndexByte(line, recordEscape)
		if n < 0 || n+1 == len(line) {
			return append(dst, line...)
		}
		dst = append(dst, line[:n]...)
		switch c := line[n+1]; c {
		case recordNewline:
			dst = append(dst, '\n')
		case recordEscape:
			dst = append(dst, recordEscape)
		default: // no record has this
			dst = append(dst, recordEscape, c)
		}
		line = line[n+2:]
	}
}
