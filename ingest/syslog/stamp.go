package syslog

// stamp is a time as a header has it. Its fields are within their bounds, but the day may be one
// that its month does not have.
type stamp struct {
	civil
	micros int    // what is behind them is dropped
	name   []byte // zoneNamed: of the zone
	text   []byte // the whole time
	known  bool   // there is one
	unsure bool   // the sender says that its clock is not synchronised
}

// civil is a second as clocks show it.
type civil struct {
	year, month, day  int // year -1: the header has none
	hour, min, second int // second 60: a leap second
	zone              zone
	offset            int // zoneOffset: seconds east of UTC
}

// zone is what a time says of its zone.
type zone byte

const (
	zoneNone zone = iota
	zoneOffset
	zoneNamed
)

// parse reads a time of RFC 3339 or of RFC 3164, and returns how many bytes it has; 0: b does not
// begin with one.
func (s *stamp) parse(b []byte) int {
	n := s.parse3339(b)
	if n == 0 {
		n = s.parse3164(b)
	}
	if n == 0 {
		*s = stamp{}
	}
	return n
}

// parse3339 reads a time of RFC 3339, and returns how many bytes it has; 0: b does not begin
// with one.
//
//	2026-11-26T06:40:00[.123456][Z|+01:00|+0100]
func (s *stamp) parse3339(b []byte) int {
	const form = "9999-99-99T99:99:99"
	if len(b) < len(form) || b[10]|0x20 != 't' || !fits(b, form) {
		return 0
	}
	*s = stamp{known: true, civil: civil{year: 100*two(b) + two(b[2:]), month: two(b[5:]), day: two(b[8:])}}
	if s.month < 1 || s.month > 12 || s.day < 1 || s.day > 31 || !s.setClock(b[11:]) {
		return 0
	}
	return s.parseRest(b)
}

const secondSize = len("2026-11-26T06:40:00")

// parseRest reads what is behind the second of a time of RFC 3339, and returns how many bytes all of
// it has.
func (s *stamp) parseRest(b []byte) int {
	n := secondSize
	n += s.parseFraction(b[n:])
	return n + s.parseOffset(b[n:])
}

// parse3164 reads a time of RFC 3164, 4.1.2, as devices write it, and returns how many bytes it
// has; 0: b does not begin with one.
//
//	[2026 ]Nov 26 [2026 ]06:40:00[.123][Z|+01:00|+0100]    days have 1 or 2 bytes, or a space before
func (s *stamp) parse3164(b []byte) int {
	*s = stamp{known: true, civil: civil{year: -1}}
	at := s.parseYear(b)
	if s.month = month(b[at:]); s.month == 0 {
		return 0
	}
	at += 3
	blanks := len(b[at:]) - len(skipBlanks(b[at:]))
	at += blanks
	n := digits(b[at:])
	if blanks < 1 || blanks > 2 || n < 1 || n > 2 || at+n >= len(b) || b[at+n] != ' ' {
		return 0
	}
	s.day = number(b[at : at+n])
	at += n + 1
	if s.year < 0 {
		at += s.parseYear(b[at:])
	}
	const form = "99:99:99"
	if s.day < 1 || s.day > 31 || !fits(b[at:], form) || !s.setClock(b[at:]) {
		return 0
	}
	at += len(form)
	at += s.parseFraction(b[at:])
	return at + s.parseOffset(b[at:])
}

// parseYear reads a year and the space behind it; 0: there is none.
func (s *stamp) parseYear(b []byte) int {
	if !fits(b, "9999 ") {
		return 0
	}
	s.year = 100*two(b) + two(b[2:])
	return len("9999 ")
}

// setClock sets the time of day; false: there is no such time.
func (s *stamp) setClock(b []byte) bool {
	s.hour, s.min, s.second = two(b), two(b[3:]), two(b[6:])
	return s.hour < 24 && s.min < 60 && s.second <= 60
}

// parseFraction reads a fraction of a second.
func (s *stamp) parseFraction(b []byte) int {
	if len(b) < 2 || b[0] != '.' {
		return 0
	}
	n := digits(b[1:])
	if n == 0 {
		return 0
	}
	for i := range 6 {
		s.micros *= 10
		if i < n {
			s.micros += int(b[1+i] - '0')
		}
	}
	return 1 + n
}

// parseOffset reads Z, or an offset.
func (s *stamp) parseOffset(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	if b[0]|0x20 == 'z' && (len(b) == 1 || !isLetter(b[1])) {
		s.zone = zoneOffset
		return 1
	}
	if b[0] != '+' && b[0] != '-' {
		return 0
	}
	n, minutes := 0, 0
	switch {
	case fits(b[1:], "99:99"):
		n, minutes = 6, two(b[4:])
	case fits(b[1:], "9999"):
		n, minutes = 5, two(b[3:])
	default:
		return 0
	}
	hours := two(b[1:])
	if hours > 23 || minutes > 59 {
		return 0
	}
	s.zone, s.offset = zoneOffset, 60*(60*hours+minutes)
	if b[0] == '-' {
		s.offset = -s.offset
	}
	return n
}

// parseZone reads the name of a zone behind a space. UTC and GMT are names of zones; other words
// are hosts or tags, but before Cisco's colon and mnemonic.
func (s *stamp) parseZone(b []byte) int {
	if s.zone != zoneNone || len(b) < 2 || b[0] != ' ' {
		return 0
	}
	name := capitals(b[1:])
	rest := b[1+len(name):]
	colon := len(rest) > 0 && rest[0] == ':'
	switch {
	case len(name) == 0 || len(rest) > 0 && rest[0] != ' ' && !colon:
		return 0
	case string(name) == "UTC" || string(name) == "GMT":
		s.zone = zoneOffset
	case colon && isMnemonic(skipBlanks(rest[1:])):
		s.zone, s.name = zoneNamed, name
	default:
		return 0
	}
	return 1 + len(name)
}

// capitals is the capital letters that b begins with, up to six.
func capitals(b []byte) []byte {
	n := 0
	for n < len(b) && n < 6 && b[n] >= 'A' && b[n] <= 'Z' {
		n++
	}
	return b[:n]
}

// month is the number of a month by its name in English; 0: b does not begin with one.
func month(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	switch string(b[:3]) {
	case "Jan":
		return 1
	case "Feb":
		return 2
	case "Mar":
		return 3
	case "Apr":
		return 4
	case "May":
		return 5
	case "Jun":
		return 6
	case "Jul":
		return 7
	case "Aug":
		return 8
	case "Sep":
		return 9
	case "Oct":
		return 10
	case "Nov":
		return 11
	case "Dec":
		return 12
	}
	return 0
}

// fits reports whether b begins as form does, where 9 is any digit and T any byte.
func fits(b []byte, form string) bool {
	if len(b) < len(form) {
		return false
	}
	for i := range len(form) {
		switch c := b[i]; form[i] {
		case '9':
			if c < '0' || c > '9' {
				return false
			}
		case 'T':
		default:
			if c != form[i] {
				return false
			}
		}
	}
	return true
}

// two is the number of two digits.
func two(b []byte) int { return 10*int(b[0]-'0') + int(b[1]-'0') }

// number is the number of a few digits.
func number(b []byte) (n int) {
	for _, c := range b {
		n = 10*n + int(c-'0')
	}
	return n
}
