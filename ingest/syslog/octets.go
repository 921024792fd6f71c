package syslog

// MaxCountHead is the longest beginning of a message that decides whether it has an octet count:
// nine digits, a space, and the priority.
const MaxCountHead = maxDigits + len(" <191>")

const maxDigits = 9

// Count reads the octet count that a message begins with over a connection (RFC 6587, 3.4.1):
//
//	1 to 9 digits, the first not 0 · SP · message, whose bytes the number counts
//	                                      '<' · 1 to 3 digits · '>' · ...
//
// head is the number of bytes before the message; 0: it has no count. more tells that b is too
// short to know. A number alone is no count, since text often begins with one, such as a date.
func Count(b []byte) (head, size int, more bool) {
	i := 0
	for i < len(b) && i < maxDigits && isDigit(b[i]) {
		size = 10*size + int(b[i]-'0')
		i++
	}
	switch {
	case i == len(b):
		return 0, 0, i == 0 || b[0] != '0'
	case i == 0 || b[0] == '0' || b[i] != ' ':
		return 0, 0, false
	}
	head = i + 1
	if ok, more := angled(b[head:]); !ok {
		return 0, 0, more
	}
	return head, size, false
}

// angled reports whether b begins with a number as that of a priority; more: it is too short to
// know.
func angled(b []byte) (ok, more bool) {
	for i, c := range b[:min(len(b), len("<191>"))] {
		switch {
		case i == 0 && c == '<':
		case i >= 2 && c == '>':
			return true, false
		case i == 0 || i > 3 || !isDigit(c):
			return false, false
		}
	}
	return false, len(b) < len("<191>")
}

// WrongCount reports whether a line begins as if it had an octet count, and has none: the number
// is negative, has too many digits, or begins with 0.
func WrongCount(line []byte) bool {
	i := 0
	if len(line) > 0 && line[0] == '-' {
		i++
	}
	digits := i
	for i < len(line) && isDigit(line[i]) {
		i++
	}
	if i == digits || i >= len(line) || line[i] != ' ' {
		return false
	}
	ok, _ := angled(line[i+1:])
	head, _, _ := Count(line)
	return ok && head == 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
