package syslog

import "bytes"

// stem is the beginning of a header of RFC 3164, "time SP host SP". The messages of a connection
// that come in the same second have it in common, so it is taken apart once.
type stem struct {
	text []byte // a copy, up to the last space
	time stamp
	when int // bytes of the time
	host int // where the host begins
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
