package wire

import "bytes"

// A byte that a peer sends may cost the keeper a line of its file: a newline
// grows the line's time, host and source. Compressed, the same byte could cost
// thousands. So a compressed text, taken as its length and LineCost for each of
// its lines, is at most MaxExpansion times as long as it was on the way: four times
// what newlines cost that come as they are. Text beyond that is sent as it is.
const (
	LineCost     = 64
	MaxExpansion = 256
)

// Expands reports whether text, which is packed bytes long when it is compressed,
// is beyond MaxExpansion.
func Expands(packed int, text []byte) bool {
	return len(text)+LineCost*bytes.Count(text, []byte{'\n'}) > MaxExpansion*packed
}
