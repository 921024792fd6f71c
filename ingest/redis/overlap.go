package redis

// Overlap reports whether a channel may match both patterns. It takes a set, as in [abc], for
// any byte, so it may report one too many and never one too few.
func Overlap(one, other string) bool {
	a, b := parts(one), parts(other)
	below := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		below = meet(a[i:], b, below)
	}
	return below[0]
}

// meet tells for each j whether some text matches both a and b[j:]; below tells the same for
// a without its first part.
func meet(a, b []int, below []bool) (meets []bool) {
	meets = make([]bool, len(b)+1)
	for j := len(b); j >= 0; j-- {
		switch {
		case len(a) > 0 && a[0] == star:
			meets[j] = below[j] || j < len(b) && meets[j+1]
		case j < len(b) && b[j] == star:
			meets[j] = meets[j+1] || len(a) > 0 && below[j]
		case len(a) == 0 || j == len(b):
			meets[j] = len(a) == 0 && j == len(b)
		default:
			meets[j] = same(a[0], b[j]) && below[j+1]
		}
	}
	return meets
}

// same reports whether a byte can match two parts, neither of which is a star.
func same(a, b int) bool { return a == b || a == anyByte || b == anyByte }

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
