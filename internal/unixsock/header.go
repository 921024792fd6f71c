package unixsock

import (
	"bytes"
	"strconv"
)

// message is a message of syslog(3), as programs send it to /dev/log:
//
//	<PRI>Mmm dd hh:mm:ss tag[pid]: text
//
// Of these, only <PRI> is sure: Python's SysLogHandler sends neither time nor tag.
type message struct {
	tag  string
	pid  int // as the sender writes it; 0: it does not
	text []byte
}

// parse takes a message apart. A text without a valid <PRI> is a message as it is. A tag is
// looked for behind a time only: without one, "error: x" might be text.
func parse(b []byte) message {
	rest, ok := cutPriority(b)
	if !ok {
		return message{text: b}
	}
	rest, ok = cutTime(rest)
	if !ok {
		return message{text: rest}
	}
	m := message{text: rest}
	end := bytes.IndexAny(rest[:min(len(rest), maxTag)], ": [")
	if end <= 0 || rest[end] == ' ' {
		return m
	}
	tag, rest := rest[:end], rest[end:]
	behind := rest[1:]
	if rest[0] == '[' {
		var digits []byte
		digits, behind, ok = bytes.Cut(behind, []byte("]:"))
		pid, err := strconv.ParseUint(string(digits), 10, 31)
		if !ok || err != nil {
			return m
		}
		m.pid = int(pid)
	}
	m.tag, m.text = string(tag), bytes.TrimPrefix(behind, []byte(" "))
	return m
}

// maxTag is how long a tag may be; logger has one of any length, RFC 3164 32 bytes.
const maxTag = 128

// cutPriority cuts <0> to <191>.
func cutPriority(b []byte) (rest []byte, ok bool) {
	if len(b) < 3 || b[0] != '<' {
		return b, false
	}
	end := bytes.IndexByte(b[:min(len(b), 5)], '>')
	if end < 2 || end > 2 && b[1] == '0' {
		return b, false
	}
	pri, err := strconv.ParseUint(string(b[1:end]), 10, 8)
	if err != nil || pri > 191 {
		return b, false
	}
	return b[end+1:], true
}

const timeForm = "Aaa 99 99:99:99 "

// cutTime cuts a time as in "Nov  6 03:12:01 ". Of less than a second it says nothing; the line
// shows when it arrived.
func cutTime(b []byte) (rest []byte, ok bool) {
	if len(b) < len(timeForm) {
		return b, false
	}
	for i, c := range b[:len(timeForm)] {
		fits := false
		switch form := timeForm[i]; form {
		case 'A':
			fits = c >= 'A' && c <= 'Z'
		case 'a':
			fits = c >= 'a' && c <= 'z'
		case '9':
			fits = c >= '0' && c <= '9' || i == 4 && c == ' '
		default:
			fits = c == form
		}
		if !fits {
			return b, false
		}
	}
	return b[len(timeForm):], true
}
