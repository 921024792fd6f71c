package natsconn

import "strings"

// Overlap reports whether some subject is matched by both: "*" stands for any one
// part, ">" for all that follow, of which there must be one.
func Overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; ; i++ {
		switch {
		case i < len(x) && x[i] == ">":
			return i < len(y)
		case i < len(y) && y[i] == ">":
			return i < len(x)
		case i == len(x) || i == len(y):
			return len(x) == len(y)
		case x[i] != y[i] && x[i] != "*" && y[i] != "*":
			return false
		}
	}
}
