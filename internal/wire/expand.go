package wire

import "bytes"

// A byte that a peer sends may cost a line of the log: a newline adds a line's time,
// host and source. In a compressed text, one byte could cost thousands of lines. So the
// length of a compressed text, plus LineCost for each of its lines, is at most
// MaxExpansion times its compressed length: four times what uncompressed newlines cost.
// A text beyond that is sent uncompressed.
const (
	LineCost     = 64
	MaxExpansion = 256
)

// Expands reports whether text, whose compressed length is packed, exceeds
// MaxExpansion.
func Expands(packed int, text []byte) bool {
	return len(text)+LineCost*bytes.Count(text, []byte{'\n'}) > MaxExpansion*packed
}
