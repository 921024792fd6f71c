package syslog

import (
	"bytes"
	"math"
)

// parse5424 reads a header of RFC 5424, 6, behind <PRI>1 and a space:
//
//	time SP host SP app SP pid SP msgid SP data [SP text]
//
// Each field may be "-". Data that is malformed or missing is of the text.
func (m *message) parse5424(b []byte, last *stem) bool {
	if !bytes.HasPrefix(b, []byte("- ")) {
		n := last.parse3339(&m.time, b)
		if n == 0 || n == len(b) || b[n] != ' ' {
			return false
		}
		m.time.text, b = b[:n], b[n+1:]
	} else {
		b = b[2:]
	}
	var fields [4][]byte // host, app, pid, msgid
	var tag []byte
	for i := range fields {
		if i == 1 {
			tag = b
		}
		end := bytes.IndexByte(b, ' ')
		if end < 0 && i == len(fields)-1 {
			end = len(b) // neither data nor text
		}
		if end <= 0 {
			return false
		}
		if f := b[:end]; len(f) != 1 || f[0] != '-' {
			fields[i] = f
		}
		b = b[min(end+1, len(b)):]
	}
	m.form = rfc5424
	m.host, m.app, m.pid, m.msgid = fields[0], fields[1], fields[2], fields[3]
	if m.app != nil && m.pid != nil {
		m.tag = tag[:len(m.app)+1+len(m.pid)]
	}
	m.text = cutBOM(m.cutData(b))
	m.readMeta()
	return true
}

// cutData cuts structured data (RFC 5424, 6.3), and returns what is behind it.
func (m *message) cutData(b []byte) []byte {
	if len(b) > 0 && b[0] == '-' && (len(b) == 1 || b[1] == ' ') {
		return cutSpace(b[1:])
	}
	end := 0
	for end < len(b) && b[end] == '[' {
		n := element(b[end:])
		if n == 0 {
			return b
		}
		end += n
	}
	if end == 0 || end < len(b) && b[end] != ' ' {
		return b
	}
	m.data = b[:end]
	return cutSpace(b[end:])
}

// keptData is the structured data without what a sender says of itself with each message (RFC
// 5424, 7). If some of it is not kept, it is put into buf, which is returned too.
func (m *message) keptData(buf []byte) (kept, newBuf []byte) {
	noise := false
	for b := m.data; len(b) > 0 && !noise; b = b[element(b):] {
		noise = isNoise(b)
	}
	if !noise {
		return m.data, buf
	}
	for b := m.data; len(b) > 0; {
		n := element(b)
		if !isNoise(b) {
			buf = append(buf, b[:n]...)
		}
		b = b[n:]
	}
	return buf, buf
}

// element is how many bytes the element has that b begins with; 0: it is malformed.
//
//	[id name="value" name="value"]    in a value, \ is before each of " \ ]
func element(b []byte) int {
	i := 1 + idSize(b[1:])
	if i == 1 {
		return 0
	}
	for i < len(b) {
		switch b[i] {
		case ']':
			return i + 1
		case ' ':
			i++
			continue
		}
		n := idSize(b[i:])
		if i += n; n == 0 || i+1 >= len(b) || b[i] != '=' || b[i+1] != '"' {
			return 0
		}
		if n = quoted(b[i+2:]); n == 0 {
			return 0
		}
		i += 2 + n
	}
	return 0
}

// idSize is how many bytes an id or a name has that b begins with.
func idSize(b []byte) (n int) {
	for n < len(b) && isIDByte(b[n]) {
		n++
	}
	return n
}

// quoted is how many bytes a value has with its quote behind it; 0: it does not end.
func quoted(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return 0
}

func isIDByte(c byte) bool { return c > ' ' && c != '=' && c != ']' && c != '"' && c < 0x7f }

// isNoise reports whether b begins with an element that is not kept.
func isNoise(b []byte) bool {
	switch string(idOf(b)) {
	case "meta", "timeQuality", "origin":
		return true
	}
	return false
}

// idOf is the id of the element with which b begins.
func idOf(b []byte) []byte { return b[1 : 1+idSize(b[1:])] }

// readMeta reads the number that the sender gives the message, if the data has one.
func (m *message) readMeta() {
	for b := m.data; len(b) > 0; {
		n := element(b)
		if string(idOf(b)) == "meta" {
			m.readNumber(b[:n], []byte(` sequenceId="`))
		}
		b = b[n:]
	}
}

// readNumber reads the number behind name, if there is one.
func (m *message) readNumber(e, name []byte) {
	at := bytes.Index(e, name)
	if at < 0 {
		return
	}
	e = e[at+len(name):]
	if n := digits(e); n > 0 && n < len(e) && e[n] == '"' {
		m.setNumber(e[:n])
	}
}

// setNumber sets the number of the message, if digits are one.
func (m *message) setNumber(digits []byte) {
	n := uint64(0)
	for _, c := range digits {
		if n = 10*n + uint64(c-'0'); n > math.MaxUint32 {
			return
		}
	}
	m.number, m.numbered = uint32(n), true
}
