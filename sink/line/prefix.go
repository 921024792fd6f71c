package line

import (
	"cmp"

	"fanin/internal/escape"
	"fanin/internal/wire"
)

// prefix is what precedes the text of lines with the same labels. From one line
// to the next most often the time alone changes, and then only that is written.
type prefix struct {
	format string
	read   clock  // when the batch was read
	host   string // of lines whose mark names no other
	source string // likewise

	text []byte // as the lines have it
	now  labels // that it shows
	at   int    // where the shown time is in it; -1: nowhere
}

// labels are the labels that lines show.
type labels struct {
	host, source string
	shown        clock
	attributes   wire.Attributes
}

// begin makes the prefix that of a batch's own labels.
func (p *prefix) begin(read int64, host, source string) {
	p.read.set(read)
	p.host, p.source = host, source
	p.now = labels{host: host, source: source, shown: p.read}
	p.write()
}

// change makes the prefix that of a mark.
func (p *prefix) change(m *wire.Labels) {
	host, source := cmp.Or(m.Host, p.host), cmp.Or(m.Source, p.source)
	own := p.now.shown.micros != p.read.micros
	if m.Time.IsZero() {
		p.now.shown = p.read
	} else {
		p.now.shown.set(m.Time.UnixMicro())
	}
	same := m.Attributes == p.now.attributes && p.at >= 0
	p.now.attributes = m.Attributes
	if !same || host != p.now.host || source != p.now.source || own != (p.now.shown.micros != p.read.micros) {
		p.now.host, p.now.source = host, source
		p.write()
		return
	}
	copy(p.text[p.at:], p.now.shown.text[:])
}

func (p *prefix) write() {
	t := p.text[:0]
	l := &p.now
	p.at = -1
	switch p.format {
	case "syslog":
		p.at = 0
		t = append(t, l.shown.text[:]...)
		t = append(append(t, ' '), l.host...)
		t = append(append(t, ' '), l.source...)
		t = append(t, ": "...)
	case "json":
		t = append(t, `{"ObservedTimestamp":"`...)
		t = append(t, p.read.text[:]...)
		if l.shown.micros != p.read.micros {
			t = append(t, `","Timestamp":"`...)
			p.at = len(t)
			t = append(t, l.shown.text[:]...)
		}
		t = append(append(t, `","host.name":"`...), l.host...)
		t = append(append(t, `","service.name":"`...), l.source...)
		t = append(appendAttributes(append(t, '"'), l.attributes), `,"Body":"`...)
	}
	p.text = t
}

// appendAttributes appends a member with the attributes, nothing if there are none. Their names
// have no bytes that would be escaped.
func appendAttributes(t []byte, a wire.Attributes) []byte {
	begin := `,"Attributes":{"`
	for name, value := range a.All() {
		t = append(append(append(t, begin...), name...), `":"`...)
		t = append(escape.JSON(t, []byte(value)), '"')
		begin = `,"`
	}
	if len(a) > 0 {
		t = append(t, '}')
	}
	return t
}
