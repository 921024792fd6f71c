package syslog

// class is what a byte may be part of.
type class byte

const (
	letter class = 1 << iota // of a word: ASCII, or not of ASCII
	inName                   // nearly all names of programs
	inTag                    // a tag; quotes, braces, = and % are of texts: of JSON, of key=value, of Cisco's
	inPID                    // what a tag has in brackets
)

// classes are those of each byte.
var classes = func() (all [256]class) {
	for i := range all {
		c := byte(i)
		if isLetter(c) {
			all[c] |= letter | inName
		}
		if isDigit(c) {
			all[c] |= inName
		}
		if c >= 0x80 {
			all[c] |= letter | inTag
		}
		if c > ' ' && c != '[' && c != ':' && c != ']' {
			all[c] |= inPID
		}
	}
	for _, c := range []byte("._-/") {
		all[c] |= inName
	}
	for _, c := range []byte("()+,@$#~\\") {
		all[c] |= inTag
	}
	for i := range all {
		if all[i]&inName != 0 {
			all[i] |= inTag
		}
	}
	return all
}()
