package journal

import (
	"bytes"
	"strconv"
)

// entry is what is used of one entry of the journal.
type entry struct {
	place
	fields []field
	text   []byte // the values of the fields
	short  bool   // a value was longer than allowed, and its end is missing
}

// field is a value of an entry. An entry may have several values of one name.
type field struct {
	name     int // index in the reader's list of names
	from, to int // in the entry's text
}

// The fields that are always read, by their index in names.
const (
	message = iota
	messageID
	dropped
	unit
	userUnit
	objectUnit
	aboutUnit
	identifier
	command
	pid
	transport
	sourceTime
	machine
	hostname
	firstOther // those of the matches
)

// names are the fields that are always read.
func names() []string {
	return []string{"MESSAGE", "MESSAGE_ID", "N_DROPPED", "_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT", "OBJECT_SYSTEMD_UNIT",
		"UNIT", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "_TRANSPORT", "_SOURCE_REALTIME_TIMESTAMP", "_MACHINE_ID",
		"_HOSTNAME"}
}

func (e *entry) reset() {
	*e = entry{fields: e.fields[:0], text: e.text[:0]}
	if cap(e.text) > keepText {
		e.text = nil
	}
}

// get returns the first value of a field, nil if there is none.
func (e *entry) get(name int) []byte {
	for _, f := range e.fields {
		if f.name == name {
			return e.text[f.from:f.to:f.to]
		}
	}
	return nil
}

// or returns the first value of a field, other if there is none.
func (e *entry) or(name int, other string) []byte {
	if v := e.get(name); len(v) > 0 {
		return v
	}
	return []byte(other)
}

// has reports whether the entry has the field.
func (e *entry) has(name int) bool {
	for _, f := range e.fields {
		if f.name == name {
			return true
		}
	}
	return false
}

// shown is the time that the line shows, in microseconds since 1970: when the message was
// sent, if that is known, as journalctl shows it; else when the journal received it.
func (e *entry) shown() int64 {
	if t, err := strconv.ParseInt(string(e.get(sourceTime)), 10, 64); err == nil && t > 0 && t <= e.time {
		return t
	}
	return e.time
}

// Ids of the messages with which journald reports that it lost others: that it dropped
// those of a service that sent too many, and that it missed some of the kernel.
const (
	idDropped = "a596d6fe7bfa4994828e72309e95d61e"
	idMissed  = "e9bf28e6e834481bb6f48f548ad13606"
)

// suppressed is how many messages this entry says that journald lost; reports is false if
// the entry is no such message.
func (e *entry) suppressed() (n uint64, reports bool) {
	switch id := e.get(messageID); string(id) {
	case idDropped, idMissed:
	default:
		return 0, false
	}
	if n, err := strconv.ParseUint(string(e.get(dropped)), 10, 64); err == nil {
		return n, true
	}
	return firstNumber(e.get(message)), true
}

// firstNumber is the first number in a text, 0 if there is none: "Suppressed 12 messages
// from a.service".
func firstNumber(text []byte) uint64 {
	from := bytes.IndexAny(text, "0123456789")
	if from < 0 {
		return 0
	}
	to := from
	for to < len(text) && text[to] >= '0' && text[to] <= '9' {
		to++
	}
	n, _ := strconv.ParseUint(string(text[from:to]), 10, 64)
	return n
}
