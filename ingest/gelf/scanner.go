package gelf

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"fanin/ingest"
	"fanin/internal/wire"
)

// Scanner understands messages, one at a time. It allocates nothing for a message whose
// labels it has seen lately.
type Scanner struct {
	s       *Settings
	metrics metrics
	lines   split

	members []member
	msg     message
	text    []byte // of the line, as the message has it
	record  []byte // the same, on one line
	names   names

	severity []byte // the name of an attribute
}

// split counts lines that were longer than allowed.
type split interface{ Split(lines int) }

// message is what a message says. Its fields are members, whose strings are resolved.
type message struct {
	short, full texts
	host        *member
	source      *member
	severity    string
	time        time.Time
	fields      []*member // all others
	attributes  []byte
	attributed  [][]byte // names of attributes
}

// reset makes g a message that says nothing.
func (g *message) reset() {
	*g = message{short: g.short[:0], full: g.full[:0], fields: g.fields[:0],
		attributes: g.attributes[:0], attributed: g.attributed[:0]}
}

// maxAttributes bounds the attributes of a line. What is beyond it stays in the text.
const maxAttributes = 64

// New returns a scanner. Its settings must not change any more.
func (s *Settings) New() *Scanner {
	s.prepare()
	return &Scanner{s: s, metrics: metrics{s.Metrics}, lines: noSplit{}, severity: []byte("severity")}
}

type noSplit struct{}

func (noSplit) Split(int) {}

// Scan appends the line of the first message in msg to dst, without its newline, and returns
// the line's labels and the bytes behind the message. Newlines inside are written as
// wire.AppendRecord does, so a batch with a line of which wire.IsRecord is true must be
// Joined. A line that is too long is several. A message that is none of GELF is the line as
// it is. Scan changes msg.
func (x *Scanner) Scan(dst, msg []byte, from *Origin) (out []byte, labels wire.Labels, rest []byte) {
	labels = wire.Labels{Host: from.Host, Source: x.s.Source}
	members, rest, ok := object(msg, x.members[:0])
	x.members = members
	if rest = trimStart(rest); ok && (len(rest) == 0 || rest[0] == '{') && hasText(members) {
		x.read(from.Now)
		x.label(&labels)
		return x.appendText(dst, x.text), labels, rest
	}
	x.metrics.notGELF().Inc()
	return x.appendText(dst, trimEnd(msg)), labels, nil
}

// ends are what may be between messages, besides blanks.
const ends = "\x00\r\n"

func trimStart(b []byte) []byte { return bytes.TrimLeft(b, ends+" \t") }
func trimEnd(b []byte) []byte   { return bytes.TrimRight(b, ends) }

// hasText reports whether there is anything to be the text of a line.
func hasText(members []member) bool {
	for i := range members {
		m := &members[i]
		name := m.name
		if m.escapedName {
			name = unquote(bytes.Clone(name)) // the message may have to stay as it is
		}
		switch string(name) {
		case "short_message", "full_message":
			if len(m.value) > 0 && !m.isNull() {
				return true
			}
		}
	}
	return false
}

// isNull reports whether a member is there to say that it is not.
func (m *member) isNull() bool { return m.kind == scalar && string(m.value) == "null" }

// read takes the members for the fields that they are.
func (x *Scanner) read(now time.Time) {
	g := &x.msg
	g.reset()
	rank := len(sources)
	for i := range x.members {
		m := &x.members[i]
		if m.isNull() {
			continue
		}
		if m.escapedName {
			m.name = unquote(m.name)
		}
		if m.escaped {
			m.value = unquote(m.value)
		}
		if x.take(m, now) {
			continue
		}
		if r := sourceRank(m); r < rank {
			rank, g.source = r, m
		}
		g.fields = append(g.fields, m)
	}
}

// take reports whether a member is a field with a place of its own, and takes it. One that
// comes twice is of the others the second time; a text that does is one more part of it.
func (x *Scanner) take(m *member, now time.Time) bool {
	g := &x.msg
	switch string(m.name) {
	case "short_message":
		g.short = append(g.short, m.value)
		return true
	case "full_message":
		g.full = append(g.full, m.value)
		return true
	case "version":
		return string(m.value) == "1.1" || string(m.value) == "1.0"
	case "level":
		name := severity(m.value)
		if g.severity != "" || name == "" {
			return false
		}
		g.severity = name
		return true
	case "timestamp":
		return x.takeTime(m, now)
	case "host":
		if g.host != nil || len(m.value) == 0 {
			return false
		}
		g.host = m
		return true
	}
	return false
}

// texts are the parts of a text: more than one if its name comes again.
type texts [][]byte

// text is all parts.
func (t texts) text() []byte {
	if len(t) == 1 {
		return t[0]
	}
	return bytes.Join(t, []byte{'\n'})
}

// severity is the name of a level, "" if it is none of syslog's.
func severity(level []byte) string {
	if len(level) != 1 || level[0] < '0' || level[0] > '7' {
		return ""
	}
	return ingest.SeverityName(int(level[0] - '0'))
}

// maxOff is how far the time of a message may be from now.
const maxOff = 24 * time.Hour

// takeTime reports whether a timestamp is of no more use: it is the line's time, or that is
// when the line was read.
func (x *Scanner) takeTime(m *member, now time.Time) bool {
	t, ok := seconds(m.value)
	if !x.s.SenderTime {
		return ok
	}
	if !ok || t.Sub(now).Abs() > maxOff || !x.msg.time.IsZero() {
		x.metrics.refusedTimes().Inc()
		return false
	}
	x.msg.time = t
	return true
}

// seconds reads a time in seconds since 1970, to the microsecond.
func seconds(b []byte) (t time.Time, ok bool) {
	whole, fraction, _ := bytes.Cut(b, []byte{'.'})
	if digits(whole) && digits(fraction) && 0 < len(whole) && len(whole) <= 12 {
		micros := int64(0)
		for _, c := range whole {
			micros = 10*micros + int64(c-'0')
		}
		for i := range 6 {
			micros *= 10
			if i < len(fraction) {
				micros += int64(fraction[i] - '0')
			}
		}
		return time.UnixMicro(micros), true
	}
	f, err := strconv.ParseFloat(string(b), 64) // with an exponent
	if err != nil || !(0 <= f && f < 1e12) {
		return t, false
	}
	return time.UnixMicro(int64(math.Round(f * 1e6))), true
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// sources are the fields that may be the source of a line, the best first.
var sources = [...]string{"_container_name", "facility", "_facility", "_app"}

// sourceRank is the place of a member in sources.
func sourceRank(m *member) int {
	if len(m.value) == 0 || m.kind == composite {
		return len(sources)
	}
	for i, name := range sources {
		if string(m.name) == name {
			return i
		}
	}
	return len(sources)
}

// label makes labels of the fields, and the text of the line.
func (x *Scanner) label(labels *wire.Labels) {
	g := &x.msg
	x.text = x.text[:0]
	if g.host != nil {
		host := x.names.host(g.host.value)
		if x.s.TrustHost {
			labels.Host = host
		}
		if string(g.host.value) != labels.Host {
			x.keepBefore(g.host.name, g.host.value)
		}
	}
	if g.source != nil {
		value := bytes.TrimPrefix(g.source.value, []byte{'/'}) // as Docker names containers
		labels.Source = x.names.source(value)
		if string(value) != labels.Source {
			x.keepBefore(bytes.TrimPrefix(g.source.name, []byte{'_'}), g.source.value)
		}
	}
	x.text = appendMessage(x.text, g.short.text(), g.full.text())
	if g.severity != "" {
		x.keep(x.severity, []byte(g.severity))
	}
	for _, m := range g.fields {
		if m != g.source {
			x.keep(fieldName(m.name), m.value)
		}
	}
	labels.Time = g.time
	labels.Attributes = x.names.attributes(g.attributes)
}

// appendMessage appends what a message says. If it has two texts and neither contains the
// other, both are the text.
func appendMessage(dst, short, full []byte) []byte {
	short, full = trimEnd(short), trimEnd(full)
	switch {
	case len(short) == 0 || bytes.Contains(full, short):
		return append(dst, full...)
	case len(full) == 0 || bytes.Contains(short, full):
		return append(dst, short...)
	}
	dst = append(append(dst, short...), '\n')
	return append(dst, full...)
}

// trim releases the memory that one large message needed.
func (x *Scanner) trim() {
	x.text, x.record = trim(x.text), trim(x.record)
	if cap(x.members) > maxAttributes {
		x.members, x.msg.fields = nil, nil
	}
}
