package syslog

import "bytes"

// parse3164 reads a header of RFC 3164, 4.1, as it is really sent:
//
//	time SP [host SP] [tag[pid]: ]text
//	time[ zone]: text                     Cisco's: neither host nor tag
//
// A time of RFC 3339 will do, too.
func (m *message) parse3164(b []byte, local bool) bool {
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
	letters, colons, hexadecimal := false, 0, true
	for _, c := range w {
		switch {
		case isLetter(c):
			letters = true
			hexadecimal = hexadecimal && c|0x20 <= 'f'
		case c == ':':
			colons++
		case c >= '0' && c <= '9':
		case c == '.':
		case c == '-' || c == '_' || c == '/' || c == '@':
			hexadecimal = false
		default:
			return false
		}
	}
	if colons > 0 { // an address of IPv6, or a tag
		return colons > 1 && hexadecimal && w[len(w)-1] != ':'
	}
	return letters || isIPv4(w)
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
	end, careful := 0, true
	for end < len(b) && end <= longestTag && isTagByte(b[end]) {
		careful = careful && isNameByte(b[end])
		end++
	}
	if end == 0 || end > longestTag || end == len(b) || !isTag(b[:end]) || !timed && !careful {
		return
	}
	tag, rest := b[:end], b[end:]
	var pid []byte
	if rest[0] == '[' {
		n := bytes.IndexByte(rest[:min(len(rest), longestTag)], ']')
		if n < 2 || !isPID(rest[1:n]) {
			return
		}
		pid, rest = rest[1:n], rest[n+1:]
	}
	if len(rest) == 0 || rest[0] != ':' {
		return
	}
	rest = rest[1:]
	if pid == nil && !endsTag(tag, rest, timed) {
		return
	}
	m.app, m.pid = tag, pid
	m.text = cutBOM(cutSpace(rest))
}

// endsTag reports whether a colon, with rest behind it, ends a tag without a pid.
func endsTag(tag, rest []byte, timed bool) bool {
	if len(rest) == 0 || rest[0] == ' ' {
		return timed || !isLevel(tag)
	}
	return timed && rest[0] != '/' && rest[0] != '\\' && rest[0] != ':' // as in http://, C:\, std::string
}

// isTag reports whether a word may be the name of a program.
func isTag(w []byte) bool {
	letter := false
	for _, c := range w {
		letter = letter || isLetter(c) || c >= 0x80
	}
	return letter
}

// isTagByte reports whether a tag may have c. Quotes, braces, = and % at the beginning of words
// are of texts: of JSON, of key=value, of Cisco's.
func isTagByte(c byte) bool {
	switch c {
	case '(', ')', '+', ',', '@', '$', '#', '~', '\\':
		return true
	}
	return isNameByte(c) || c >= 0x80
}

// isNameByte reports whether nearly all names of programs have such bytes.
func isNameByte(c byte) bool {
	return isLetter(c) || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' || c == '/'
}

func isPID(w []byte) bool {
	for _, c := range w {
		if c <= ' ' || c == '[' || c == ':' {
			return false
		}
	}
	return true
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
