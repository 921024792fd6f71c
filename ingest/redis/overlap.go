package redis

// Overlap reports whether a channel may match both patterns. It takes a set, as in [abc], for
// any byte, so it may report one too many and never one too few.
func Overlap(one, other string) bool {
	a, b := parts(one), parts(other)
	// meet[j] tells whether what is left of a, and of b from j on, can be the same text.
	meet := make([]bool, len(b)+1)
	next := make([]bool, len(b)+1) // of one part of a less
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				meet[j] = true
			case i < len(a) && a[i] == star:
				meet[j] = next[j] || j < len(b) && meet[j+1]
			case j < len(b) && b[j] == star:
				meet[j] = meet[j+1] || i < len(a) && next[j]
			default:
				same := i < len(a) && j < len(b) && (a[i] == b[j] || a[i] == anyByte || b[j] == anyByte)
				meet[j] = same && next[j+1]
			}
		}
		meet, next = next, meet
	}
	return next[0]
}

// What a part of a pattern matches that is not one byte.
const (
	anyByte = 256 + iota
	star
)

// parts are the parts of a pattern: bytes, anyByte and star.
func parts(pattern string) (all []int) {
	for p := 0; p < len(pattern); p++ {
		switch pattern[p] {
		case '*':
			all = append(all, star)
		case '?':
			all = append(all, anyByte)
		case '[':
			next, _ := matchSet(pattern, p+1, 0)
			p = next - 1
			all = append(all, anyByte)
		case '\\':
			if p+1 < len(pattern) {
				p++
			}
			all = append(all, int(pattern[p]))
		default:
			all = append(all, int(pattern[p]))
		}
	}
	return all
}
