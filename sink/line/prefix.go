package line

import (
	"cmp"

	"fanin/internal/wire"
)

// prefix is what stands before the text of lines with the same labels. From one line
// to the next most often the time alone changes, and then only that is written.
type prefix struct {
	format string
	read   stamp  // when the batch was read
	host   string // of lines whose mark names no other
	source string // likewise

	text  []byte
	now   labels
	stamp int // where the shown time is in text; -1: nowhere
}

// labels are the labels that lines show.
type labels struct {
	host, source string
	shown        stamp
}

// begin makes the prefix that of a batch's own labels.
func (p *prefix) begin(read stamp, host, source string) {
	p.read, p.host, p.source = read, host, source
	p.write(labels{host, source, read})
}

// change makes the prefix that of a mark.
func (p *prefix) change(m *wire.Labels) {
	next := labels{cmp.Or(m.Host, p.host), cmp.Or(m.Source, p.source), p.read}
	if !m.Time.IsZero() {
		next.shown = stamp(m.Time.UnixMicro())
	}
	if p.stamp < 0 || next.host != p.now.host || next.source != p.now.source || p.format == "json" && next.shown == p.read {
		p.write(next)
		return
	}
	next.shown.replace(p.text[p.stamp:], p.now.shown)
	p.now.shown = next.shown
}

func (p *prefix) write(l labels) {
	t := p.text[:0]
	p.now, p.stamp = l, -1
	switch p.format {
	case "syslog":
		p.stamp = 0
		t = l.shown.append(t)
		t = append(append(t, ' '), l.host...)
		t = append(append(t, ' '), l.source...)
		t = append(t, ": "...)
	case "json":
		t = append(t, `{"ObservedTimestamp":"`...)
		t = p.read.append(t)
		if l.shown != p.read {
			t = append(t, `","Timestamp":"`...)
			p.stamp = len(t)
			t = l.shown.append(t)
		}
		t = append(append(t, `","host.name":"`...), l.host...)
		t = append(append(t, `","service.name":"`...), l.source...)
		t = append(t, `","Body":"`...)
	}
	p.text = t
}
