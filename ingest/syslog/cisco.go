package syslog

import "bytes"

// parseCisco reads what Cisco's devices have instead of a header of RFC 3164:
//
//	[: ][[syslog@9 s_sn="127"]: ][counter: [number: ]][host: ][*|.][time[ zone]: ]%FACILITY-SEVERITY-MNEMONIC: text
//
// The counter is of the messages sent; the number behind it (service sequence-numbers) counts also
// those that were not meant for us. A time since the start, as in 1d02h: or 00:20:10: , stays in
// the text. Without a time or %, it is none of theirs.
func (m *message) parseCisco(b []byte) bool {
	c := message{form: cisco, pri: m.pri, head: m.head}
	b = skipBlanks(bytes.TrimPrefix(b, []byte{':'}))
	if bytes.HasPrefix(b, []byte("[syslog@9 ")) {
		n := element(b)
		if n == 0 || !bytes.HasPrefix(b[n:], []byte(": ")) {
			return false
		}
		c.data = b[:n]
		c.readNumber(b[:n], []byte(` s_sn="`))
		b = b[n+2:]
	}
	b = c.cutCounters(b)
	b = c.cutCiscoHost(b)
	timed := false
	b, timed = c.cutCiscoTime(b)
	if !timed && !isMnemonic(b) && !isUptime(b) {
		return false
	}
	if !c.numbered && c.data == nil && !isMnemonic(b) {
		return false // an ordinary header of RFC 3164, perhaps
	}
	c.text = b
	*m = c
	return true
}

// cutCounters cuts one or two numbers. The first counts what was sent.
func (m *message) cutCounters(b []byte) []byte {
	for i := range 2 {
		n := digits(b)
		if n == 0 || n > 10 || !bytes.HasPrefix(b[n:], []byte(": ")) {
			break
		}
		if i == 0 && !m.numbered {
			m.setNumber(b[:n])
		}
		b = skipBlanks(b[n+1:])
	}
	return b
}

// cutCiscoHost cuts a host with a colon.
func (m *message) cutCiscoHost(b []byte) []byte {
	w := word(b)
	n := len(w) - 1
	if n < 1 || n+1 == len(b) || w[n] != ':' || !isHost(w[:n]) || isUptime(b) {
		return b
	}
	m.host = w[:n]
	return skipBlanks(b[n+1:])
}

// cutCiscoTime cuts a time, its zone, and the colon behind them.
func (m *message) cutCiscoTime(b []byte) ([]byte, bool) {
	unsure := len(b) > 0 && (b[0] == '*' || b[0] == '.')
	rest := b
	if unsure {
		rest = rest[1:]
	}
	n := m.time.parse(rest)
	if n > 0 {
		n += m.time.parseZone(rest[n:])
	}
	if n == 0 || !bytes.HasPrefix(rest[n:], []byte(":")) {
		m.time = stamp{}
		return b, false
	}
	m.time.unsure, m.time.text = unsure, b[:len(b)-len(rest)+n]
	return skipBlanks(rest[n+1:]), true
}

// isMnemonic reports whether a text begins with %FACILITY.
func isMnemonic(b []byte) bool { return len(b) > 1 && b[0] == '%' && b[1] >= 'A' && b[1] <= 'Z' }

// isUptime reports whether a text begins with a time since the device's start, and has a mnemonic
// behind it: 00:20:10, 1d02h, 2w3d, 1y5w.
func isUptime(b []byte) bool {
	w := word(b)
	n := len(w) - 1
	if n < 1 || w[n] != ':' || !isMnemonic(skipBlanks(b[n+1:])) {
		return false
	}
	for _, c := range w[:n] {
		if (c < '0' || c > '9') && bytes.IndexByte([]byte("ywdh:"), c) < 0 {
			return false
		}
	}
	return true
}
