package wire

import "unicode/utf8"

// CutLine returns where to cut a long line near n, which is inside it: before the
// UTF-8 sequence that a cut at n would tear. Bytes that are not UTF-8 are cut at n.
func CutLine(line []byte, n int) int {
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(line[i]) {
			return i
		}
	}
	return n
}
