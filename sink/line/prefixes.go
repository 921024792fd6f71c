package line

import (
	"cmp"
	"hash/maphash"

	"fanin/internal/wire"
)

// prefixes are those that lines had lately. Where labels change from line to line, most lines
// have those of an earlier one, but for the time: then only that is written.
type prefixes struct {
	format string
	read   clock  // when the batch was read
	shown  clock  // the time that lines show
	host   string // of lines whose mark names no other
	source string // likewise

	now    *prefix // of the next lines
	seed   maphash.Seed
	lately [recent]prefix // each at the place that its names have
	large  prefix         // with attributes that are too many to be kept
}

const (
	recent         = 256
	keptAttributes = 256 // bytes
)

func newPrefixes(format string) *prefixes {
	return &prefixes{format: format, seed: maphash.MakeSeed()}
}

// begin makes the next lines those of a batch with its own labels.
func (x *prefixes) begin(read int64, host, source string) {
	x.read.set(read)
	x.shown, x.host, x.source = x.read, host, source
	x.use(names{host: host, source: source})
}

// change makes the next lines those behind a mark.
func (x *prefixes) change(m *wire.Labels) {
	if m.Time.IsZero() {
		x.shown = x.read
	} else {
		x.shown.set(m.Time.UnixMicro())
	}
	n := names{host: cmp.Or(m.Host, x.host), source: cmp.Or(m.Source, x.source)}
	if x.format == "json" {
		n.attributes, n.both = m.Attributes, x.shown.micros != x.read.micros
	}
	x.use(n)
}

func (x *prefixes) use(n names) {
	p := x.now
	if p == nil || p.names != n {
		p = x.place(&n)
	}
	if p.text == nil || p.names != n {
		p.write(x.format, n)
	}
	p.setTimes(&x.read, &x.shown)
	x.now = p
}

// place is the place of a prefix that shows n.
func (x *prefixes) place(n *names) *prefix {
	if len(n.attributes) > keptAttributes {
		return &x.large
	}
	h := maphash.String(x.seed, n.source)
	if n.host != x.host {
		h += 3 * maphash.String(x.seed, n.host)
	}
	if n.attributes != "" {
		h += 5 * maphash.String(x.seed, string(n.attributes))
	}
	return &x.lately[h%recent]
}
