package wire

import "unicode/utf8"

// CutLine moves a cut of a long line at n, which is within it, back to the
// beginning of the UTF-8 sequence that it would tear. What is no UTF-8 is cut at n.
func CutLine(line []byte, n int) int {
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(line[i]) {
			return i
		}
	}
	return n
}
