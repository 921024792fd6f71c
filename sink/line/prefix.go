package line

import (
	"slices"

	"fanin/internal/escape"
	"fanin/internal/wire"
)

// prefix is what precedes the text of lines that show the same names.
type prefix struct {
	names
	text   []byte // as the lines have it
	read   int    // where the time is in it at which lines were read; -1: nowhere
	shown  int    // where the time is that they show
	period int    // in which count is valid, see Layout.count
	count  int
}

// names are what lines show besides times.
type names struct {
	host, source string
	attributes   wire.Attributes
	both         bool // they show two times
}

const usualPrefix = 64 // bytes

// write makes p the prefix of lines that show n, without their times.
func (p *prefix) write(format string, n names) {
	t := slices.Grow(p.text[:0], usualPrefix)
	p.names, p.read, p.shown, p.period = n, -1, -1, 0
	var time [timeSize]byte
	switch format {
	case "syslog":
		p.shown = 0
		t = append(t, time[:]...)
		t = append(append(t, ' '), n.host...)
		t = append(append(t, ' '), n.source...)
		t = append(t, ": "...)
	case "json":
		t = append(t, `{"ObservedTimestamp":"`...)
		p.read = len(t)
		t = append(t, time[:]...)
		if n.both {
			t = append(t, `","Timestamp":"`...)
			p.shown = len(t)
			t = append(t, time[:]...)
		}
		t = append(append(t, `","host.name":"`...), n.host...)
		t = append(append(t, `","service.name":"`...), n.source...)
		t = append(appendAttributes(append(t, '"'), n.attributes), `,"Body":"`...)
	}
	p.text = t
}

// setTimes writes the times of the next lines.
func (p *prefix) setTimes(read, shown *clock) {
	if p.read >= 0 {
		copy(p.text[p.read:], read.text[:])
	}
	if p.shown >= 0 {
		copy(p.text[p.shown:], shown.text[:])
	}
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
