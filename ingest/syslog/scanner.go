package syslog

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"

	"fanin/ingest"
	"fanin/internal/wire"
)

// Scanner understands the messages of one connection or socket, one at a time. It allocates
// nothing for a message whose names it has seen lately.
type Scanner struct {
	// Verbatim says that the messages have neither a newline nor a byte 0xC0 inside, so their text
	// stands in the line as it is.
	Verbatim bool

	s     *Settings
	clock clock
	m     message
	stem  stem
	line  line

	unused unused // why the line does not show the time of the header

	scratch                    []byte
	sources, hosts, attributes names
}

// New returns a scanner for one connection or socket.
func (s *Settings) New() *Scanner {
	most := cmp.Or(s.NameBytes, 8<<10)
	return &Scanner{
		s: s, clock: newClock(s.Zone, cmp.Or(s.Metrics, new(ingest.Metrics))),
		sources: newNames(most, cleanSource), hosts: newNames(most, cleanHost),
		attributes: newNames(most, func(raw string) (string, bool) { return raw, true }),
	}
}

func cleanHost(raw string) (clean string, same bool) {
	clean = wire.CleanHost(raw)
	return clean, clean == raw
}

// cleanSource is the source of app[pid], or of app SP pid.
func cleanSource(raw string) (clean string, same bool) {
	if app, pid, ok := strings.Cut(raw, " "); ok {
		raw = app + "[" + pid + "]"
	}
	clean = wire.CleanSource(raw)
	return clean, clean == raw
}

// Room is how many bytes the line of a message of n bytes can have.
func Room(n int) int { return 2*n + 64 }

// Scan appends the line of a message to dst, without a newline at its end, and returns the
// line's labels. Newlines inside are written as wire.AppendRecord does, so a batch with a line of
// which wire.IsRecord is true must be Joined. NULs and a newline at the message's end are not of
// its text. A message that is not one of syslog is the line as it is.
func (x *Scanner) Scan(dst, msg []byte, from *Origin) (out []byte, labels wire.Labels) {
	out, labels = x.scan(dst, msg, from)
	x.forget()
	return out, labels
}

// forget makes the scanner ready for the next message. What it has would keep the caller's memory
// alive, too.
func (x *Scanner) forget() { x.m, x.line.out = message{}, nil }

func (x *Scanner) scan(dst, msg []byte, from *Origin) (out []byte, labels wire.Labels) {
	msg = trimEnd(msg)
	m := &x.m
	m.parse(msg, x.s.Any, x.s.Local, &x.stem)
	x.unused = taken
	if m.numbered && x.s.Gaps != nil {
		x.s.Gaps.see(m, from)
	}
	if m.form == plain || x.s.Raw {
		return appendText(dst, msg, x.Verbatim), wire.Labels{Host: from.Host, Source: x.s.Source}
	}
	x.line.begin(dst, x.s.JSON, x.Verbatim)
	if x.s.KeepPRI {
		x.line.head(m.head)
	}
	x.placePriority()
	labels.Host = x.placeHost(from)
	labels.Source = x.placeSource(from)
	if len(m.msgid) > 0 && !bytes.Equal(m.msgid, m.app) {
		x.line.keep("msgid", m.msgid)
	}
	x.placeData()
	x.line.add(m.text)
	if x.s.SenderTime {
		labels.Time, x.unused = x.clock.show(&m.time, from.Now)
	}
	labels.Attributes = x.attributesOf()
	if cap(x.scratch) > keptScratch {
		x.scratch = nil
	}
	return x.line.out, labels
}

// keptScratch is how much memory a scanner keeps from one message to the next.
const keptScratch = 4 << 10

// attributesOf are the attributes of the line.
func (x *Scanner) attributesOf() wire.Attributes {
	switch b := x.line.attributes; {
	case len(b) == 0:
		return ""
	case len(b) > longestKept:
		return wire.Attributes(b)
	default:
		all, _ := x.attributes.get(b)
		return wire.Attributes(all)
	}
}

// trimEnd drops what ends a message: NULs, a newline, or NULs and a newline.
func trimEnd(msg []byte) []byte {
	newlines := 0
	for n := len(msg); n > 0; n-- {
		switch c := msg[n-1]; {
		case c == 0:
		case c == '\n' && newlines == 0:
			newlines++
		default:
			return msg[:n]
		}
	}
	return nil
}

// placePriority puts facility and severity into attributes.
func (x *Scanner) placePriority() {
	if x.s.JSON && len(x.m.head) > 0 {
		x.line.attribute("facility", []byte(ingest.FacilityName(x.m.pri/8)))
		x.line.attribute("severity", []byte(ingest.SeverityName(x.m.pri%8)))
	}
}

// placeHost returns the host of the line. That of the header stays with the line if it is another,
// or no name that the log can have.
func (x *Scanner) placeHost(from *Origin) string {
	host, same := from.Host, false
	if x.s.TrustHost && x.m.host != nil {
		host, same = x.hosts.get(x.m.host)
	}
	if !same && string(x.m.host) != host {
		x.line.keep("host", x.m.host)
	}
	return host
}

// placeSource returns the source of the line: app[pid], where the pid is the kernel's, if it is
// known. What the log cannot have in a name stays with the line.
func (x *Scanner) placeSource(from *Origin) string {
	m := &x.m
	if m.tag != nil && from.PID == 0 { // most often, the header has all of it in one piece
		if source, same := x.sources.get(m.tag); same {
			return source
		}
	}
	b := append(x.scratch[:0], m.app...)
	if m.app == nil {
		b = append(b, x.s.Source...)
	}
	header := m.pid
	switch {
	case from.PID > 0:
		b = append(b, '[')
		n := len(b)
		b = append(strconv.AppendInt(b, int64(from.PID), 10), ']')
		if bytes.Equal(b[n:len(b)-1], header) {
			header = nil
		}
	case m.pid != nil:
		b = append(append(append(b, '['), m.pid...), ']')
		header = nil
	}
	x.scratch = b
	source, same := x.sources.get(b)
	if !same {
		x.line.keep("app", m.app)
		if header == nil && wire.CleanSource(string(m.pid)) != string(m.pid) || len(b) > wire.MaxName {
			header = m.pid
		}
	}
	x.line.keep("pid", header)
	return source
}

// placeData keeps structured data.
func (x *Scanner) placeData() {
	if len(x.m.data) == 0 {
		return
	}
	var data []byte
	data, x.scratch = x.m.keptData(x.scratch[:0])
	if x.s.JSON && len(data) > 0 && x.line.attribute("structured_data", data) {
		return
	}
	x.line.add(data)
}
