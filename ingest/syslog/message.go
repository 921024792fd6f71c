package syslog

import (
	"bytes"

	"fanin/ingest"
)

// form is the form of a message.
type form byte

const (
	plain   form = iota // not syslog: a line as it is
	bare                // only <PRI> is known
	rfc3164             // <PRI>Mmm dd hh:mm:ss host tag[pid]: text
	rfc5424             // <PRI>1 time host app pid msgid [data] text
	cisco               // <PRI>counter: host: *time: %FACILITY-SEVERITY-MNEMONIC: text
)

// String is the name of the form.
func (f form) String() string {
	return [...]string{"plain", "PRI only", "RFC 3164", "RFC 5424", "Cisco"}[f]
}

// message is the fields of a message, as slices of it; nil: it has none.
type message struct {
	form form
	pri  int    // 8 facility + severity
	head []byte // <PRI>
	time stamp

	host, app, pid, msgid []byte

	tag []byte // app[pid], or app SP pid, or app alone, if the header has it in one piece

	data     []byte // structured data: elements as they are
	numbered bool   // the sender counts its messages
	number   uint32 // of this one

	text []byte
}

// parse takes a message apart; m is empty. With anyText, it need not begin with <PRI>. With local,
// its header has no host. last is of the message before.
func (m *message) parse(msg []byte, anyText, local bool, last *stem) {
	m.text = msg
	pri, size := ingest.Priority(msg)
	if size == 0 && !anyText {
		return
	}
	m.form, m.pri, m.head = bare, pri, msg[:size]
	rest := cutBOM(msg[size:])
	m.text = rest
	if size > 0 && bytes.HasPrefix(rest, []byte("1 ")) {
		if m.parse5424(rest[2:], last) {
			return
		}
		m.time = stamp{}
	}
	at := skipBlanks(rest)
	if m.parse3164(at, local, last) || m.parseCisco(at) {
		return
	}
	m.parseTag(at, false)
}

// cutBOM cuts the mark of UTF-8 (RFC 5424, 6.4), which some senders have behind <PRI>, too.
func cutBOM(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) }

// skipBlanks skips spaces.
func skipBlanks(b []byte) []byte {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return b
}

// cutSpace cuts one space, if there is one.
func cutSpace(b []byte) []byte {
	if len(b) > 0 && b[0] == ' ' {
		return b[1:]
	}
	return b
}

// word is b up to a space or a TAB.
func word(b []byte) []byte {
	for i, c := range b {
		if c == ' ' || c == '\t' {
			return b[:i]
		}
	}
	return b
}

// digits is how many digits b begins with.
func digits(b []byte) (n int) {
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
