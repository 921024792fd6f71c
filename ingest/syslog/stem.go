package syslog

import "bytes"

// stem is the beginning of a header of RFC 3164, "time SP host SP", and the second of one of RFC
// 5424. The messages of a connection that come in the same second have it in common, so it is taken
// apart once.
type stem struct {
	text []byte // a copy, up to the last space
	time stamp
	when int // bytes of the time
	host int // where the host begins

	second [secondSize]byte // of RFC 3339, without its fraction
	civil  civil            // the same
}

// longestStem is how long a stem may be to be remembered.
const longestStem = 64

// begins reports whether b begins with the stem, and has something behind it that does not
// change what the stem means, as the colon of Cisco's ASA does.
func (s *stem) begins(b []byte) bool {
	return len(s.text) > 0 && len(b) > len(s.text) && b[len(s.text)] != ':' && bytes.HasPrefix(b, s.text)
}

// keep remembers the header of b, whose fields are in m. It forgets one with a fraction of a
// second, which does not come again, and one that could mean something else with other bytes
// behind it.
func (s *stem) keep(b []byte, m *message) {
	s.text = s.text[:0]
	if m.host == nil || m.time.micros > 0 || m.time.name != nil {
		return
	}
	when := len(m.time.text)
	host := when
	for b[host] == ' ' {
		host++
	}
	switch string(word(b[host:])) {
	case "last", "Message", "From":
		return
	}
	end := host + len(m.host) + 1
	if end >= min(len(b), longestStem) || b[end] == ':' {
		return
	}
	s.text, s.when, s.host, s.time = append(s.text, b[:end]...), when, host, m.time
	s.time.text = nil
}

// fill sets the fields of m, whose header is that of b.
func (s *stem) fill(m *message, b []byte) {
	end := len(s.text)
	m.form, m.time = rfc3164, s.time
	m.time.text = b[:s.when]
	m.host, m.text = b[s.host:end-1], b[end:]
}

// parse3339 is that of t, but for a second like the last one.
func (s *stem) parse3339(t *stamp, b []byte) int {
	if s.civil.day == 0 || len(b) <= secondSize || string(b[:secondSize]) != string(s.second[:]) {
		n := t.parse3339(b)
		if n > 0 {
			copy(s.second[:], b)
			s.civil = t.civil
			s.civil.zone, s.civil.offset = zoneNone, 0
		}
		return n
	}
	*t = stamp{known: true, civil: s.civil}
	return t.parseRest(b)
}
