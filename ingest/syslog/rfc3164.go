package syslog

import "bytes"

// parse3164 reads a header of RFC 3164, 4.1, as it is really sent:
//
//	time SP [host SP] [tag[pid]: ]text
//	time[ zone]: text                     Cisco's: neither host nor tag
//
// A time of RFC 3339 will do, too.
func (m *message) parse3164(b []byte, local bool, last *stem) bool {
	if !local && last.begins(b) {
		last.fill(m, b)
		m.parseTag(skipBlanks(m.text), true)
		return true
	}
	begin := b
	n := m.time.parse(b)
	if n == 0 {
		return false
	}
	n += m.time.parseZone(b[n:])
	m.time.text, b = b[:n], b[n:]
	m.form = rfc3164
	switch {
	case len(b) == 0:
		m.text = b
		return true
	case b[0] == ':' && len(b) > 1 && b[1] == ' ':
		if m.text = b[2:]; isMnemonic(m.text) {
			m.form = cisco
		}
		return true
	case b[0] != ' ': // the time is of a longer word
		m.form, m.time = bare, stamp{}
		return false
	}
	m.text = b[1:]
	b = skipBlanks(b)
	if !local {
		b = m.cutHost(b)
		last.keep(begin, m)
	}
	m.parseTag(b, true)
	return true
}

// cutHost cuts a host, if b begins with one, and returns what is behind it.
func (m *message) cutHost(b []byte) []byte {
	host := word(b)
	if len(host) == len(b) || !isHost(host) {
		return b
	}
	switch string(host) {
	case "last":
		if bytes.HasPrefix(b, []byte("last message repeated ")) {
			return b
		}
	case "Message", "From":
		if rest, ok := m.cutForwarded(b); ok {
			return rest
		}
	}
	m.host, m.text = host, b[len(host)+1:]
	if len(m.text) > 2 && m.text[0] == ':' && isMnemonic(m.text[2:]) { // Cisco's ASA
		m.text = m.text[2:]
	}
	return skipBlanks(m.text)
}

// cutForwarded cuts the host that AIX writes before what it forwards:
//
//	Message forwarded from host: text
//	From host: text
func (m *message) cutForwarded(b []byte) (rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(b, []byte("Message forwarded from ")); !ok {
		if rest, ok = bytes.CutPrefix(b, []byte("From ")); !ok {
			return b, false
		}
	}
	w := word(rest)
	n := len(w) - 1
	if n < 1 || n+1 == len(rest) || w[n] != ':' || !isHost(w[:n]) {
		return b, false
	}
	m.host, m.text = w[:n], rest[n+2:]
	return m.text, true
}

// isHost reports whether a word can be the name or the address of a host. A word of digits alone
// cannot.
func isHost(w []byte) bool {
	letters, colons := false, 0
	for _, c := range w {
		switch {
		case isLetter(c):
			letters = true
		case c == ':':
			colons++
		case classes[c]&inName == 0 && c != '@':
			return false
		}
	}
	if colons > 0 {
		return colons > 1 && isIPv6(w)
	}
	return letters || isIPv4(w)
}

// isIPv6 reports whether a word with colons is an address, and no tag.
func isIPv6(w []byte) bool {
	for _, c := range w {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') && c != ':' && c != '.' {
			return false
		}
	}
	return w[len(w)-1] != ':'
}

func isIPv4(w []byte) bool {
	return bytes.Count(w, []byte{'.'}) == 3 && bytes.IndexByte(w, '/') < 0
}

// longestTag is how long a tag may be; RFC 3164 has 32 bytes, logger any length.
const longestTag = 255

// parseTag cuts a tag, tag[pid]: or tag: , off b, if it begins with one, and then the text is
// what is behind it. Without a time before it, a word and a colon are a tag only if they look
// very much like one.
func (m *message) parseTag(b []byte, timed bool) {
	n := tagSize(b, timed)
	if n == 0 {
		return
	}
	tag, rest := b[:n], b[n:]
	pid, size := bracketed(rest)
	rest = rest[size:]
	if len(rest) == 0 || rest[0] != ':' {
		return
	}
	rest = rest[1:]
	if pid == nil && !endsTag(tag, rest, timed) {
		return
	}
	m.app, m.pid, m.tag = tag, pid, b[:n+size]
	m.text = cutBOM(cutSpace(rest))
}

// tagSize is how many bytes the name of a program has that b begins with; 0: with none, or with a
// text only.
func tagSize(b []byte, timed bool) (n int) {
	some, all := class(0), inName
	for n < len(b) && n <= longestTag && classes[b[n]]&inTag != 0 {
		some |= classes[b[n]]
		all &= classes[b[n]]
		n++
	}
	if n > longestTag || some&letter == 0 || !timed && all == 0 {
		return 0
	}
	return n
}

// bracketed is the pid in brackets with which b begins, and the bytes that it has with them; nil:
// it begins with none.
func bracketed(b []byte) (pid []byte, size int) {
	if len(b) == 0 || b[0] != '[' {
		return nil, 0
	}
	n := 1
	for n < len(b) && n < longestTag && classes[b[n]]&inPID != 0 {
		n++
	}
	if n == 1 || n == len(b) || n == longestTag || b[n] != ']' {
		return nil, 0
	}
	return b[1:n], n + 1
}

// endsTag reports whether a colon, with rest behind it, ends a tag without a pid.
func endsTag(tag, rest []byte, timed bool) bool {
	if len(rest) == 0 || rest[0] == ' ' {
		return timed || !isLevel(tag)
	}
	return timed && rest[0] != '/' && rest[0] != '\\' && rest[0] != ':' // as in http://, C:\, std::string
}

// isLevel reports whether a word names how bad something is, and so begins a text, as in
// "error: no space".
func isLevel(w []byte) bool {
	for _, level := range []string{"emerg", "emergency", "alert", "crit", "critical", "fatal", "panic", "err", "error",
		"warn", "warning", "notice", "info", "information", "debug", "trace", "note", "exception", "failed",
		"failure"} {
		if len(level) == len(w) && bytes.EqualFold(w, []byte(level)) {
			return true
		}
	}
	return false
}
