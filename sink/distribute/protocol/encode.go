package protocol

import (
	"time"

	"github.com/tinylib/msgp/msgp"
)

// AppendHello appends a worker's greeting to b.
func AppendHello(b []byte, h *Hello) []byte {
	b = msgp.AppendArrayHeader(b, 3)
	version := Version
	if h.Cluster {
		version = VersionCluster
	}
	b = msgp.AppendInt(msgp.AppendString(b, Magic), version)
	var o options
	o.text("group", h.Group)
	o.text("name", h.Name)
	o.text("from", h.From)
	o.number("credit", h.Credit)
	o.number("weight", h.Weight)
	o.number("batch", h.Batch)
	o.seconds("lease", h.Lease)
	o.text("key", h.Key)
	o.texts("host", h.Host)
	o.texts("source", h.Source)
	o.texts("include", h.Include)
	o.texts("exclude", h.Exclude)
	o.text("token", h.Token)
	o.text("partition", h.Partition)
	return o.append(b)
}

// AppendWelcome appends the collector's answer to it.
func AppendWelcome(b []byte, w *Welcome) []byte {
	b = msgp.AppendArrayHeader(b, 3)
	b = msgp.AppendInt(msgp.AppendString(b, string(KindWelcome)), Version)
	var o options
	o.text("log", w.Log)
	o.text("group", w.Group)
	o.text("position", w.Position)
	o.text("format", w.Format)
	o.number("max_credit", w.Credit)
	o.seconds("lease", w.Lease)
	o.number("attempts", w.Attempts)
	o.text("partition", w.Partition)
	if w.Epoch != 0 {
		o.key("epoch")
		o.body = msgp.AppendUint64(o.body, w.Epoch)
	}
	return o.append(b)
}

// appendPlaces appends where the partitions of a cluster are.
func appendPlaces(b []byte, p *Places) []byte {
	b = msgp.AppendInt(head(b, 3, KindPlaces), VersionCluster)
	var o options
	o.text("cluster", p.Cluster)
	o.number("partitions", p.Partitions)
	o.key("at")
	o.body = msgp.AppendArrayHeader(o.body, uint32(len(p.At)))
	for _, x := range p.At {
		o.body = msgp.AppendInt(msgp.AppendArrayHeader(o.body, 3), x.Partition)
		o.body = msgp.AppendString(msgp.AppendString(o.body, x.Address), x.Reason)
	}
	return o.append(b)
}

// options is a map that is being written. Zero values are left out.
type options struct {
	n    uint32
	body []byte
}

func (o *options) key(name string) {
	o.n++
	o.body = msgp.AppendString(o.body, name)
}

func (o *options) text(name, v string) {
	if v != "" {
		o.key(name)
		o.body = msgp.AppendString(o.body, v)
	}
}

func (o *options) number(name string, v int) {
	if v != 0 {
		o.key(name)
		o.body = msgp.AppendInt(o.body, v)
	}
}

func (o *options) seconds(name string, v time.Duration) {
	if v != 0 {
		o.key(name)
		o.body = msgp.AppendFloat64(o.body, v.Seconds())
	}
}

func (o *options) texts(name string, v []string) {
	if len(v) == 0 {
		return
	}
	o.key(name)
	o.body = msgp.AppendArrayHeader(o.body, uint32(len(v)))
	for _, s := range v {
		o.body = msgp.AppendString(o.body, s)
	}
}

func (o *options) append(b []byte) []byte {
	return append(msgp.AppendMapHeader(b, o.n), o.body...)
}

func head(b []byte, n uint32, kind Kind) []byte {
	return msgp.AppendString(msgp.AppendArrayHeader(b, n), string(kind))
}

// AppendFrame appends a frame other than the greetings to b.
func AppendFrame(b []byte, f *Frame) []byte {
	switch f.Kind {
	case KindAck:
		if f.To < 0 {
			return msgp.AppendUint64(head(b, 2, f.Kind), f.N)
		}
		return appendRange(head(b, 4, f.Kind), f)
	case KindNack, KindLost:
		return msgp.AppendString(appendRange(head(b, 5, f.Kind), f), f.Reason)
	case KindRelease, KindAccepted:
		return appendRange(head(b, 4, f.Kind), f)
	case KindTouch:
		return msgp.AppendUint64(head(b, 2, f.Kind), f.N)
	case KindCredit:
		return msgp.AppendInt64(head(b, 2, f.Kind), f.Credit)
	case KindFault:
		return msgp.AppendString(head(b, 2, f.Kind), f.Reason)
	case KindPlaces:
		return appendPlaces(b, &f.Places)
	case KindLines:
		return append(AppendLinesHead(b, f, len(f.Text)), f.Text...)
	}
	return head(b, 1, f.Kind) // drain
}

func appendRange(b []byte, f *Frame) []byte {
	return msgp.AppendInt(msgp.AppendInt(msgp.AppendUint64(b, f.N), f.From), f.To)
}

// AppendLinesHead appends a delivery without its text, of which size bytes
// follow.
func AppendLinesHead(b []byte, f *Frame, size int) []byte {
	b = msgp.AppendInt(msgp.AppendUint64(head(b, 5, KindLines), f.N), f.Attempt)
	b = msgp.AppendArrayHeader(b, uint32(len(f.Runs)))
	for _, r := range f.Runs {
		b = msgp.AppendUint64(msgp.AppendArrayHeader(b, 3), r.Generation)
		b = msgp.AppendInt64(msgp.AppendInt64(b, r.Offset), r.Length)
	}
	return msgp.AppendBytesHeader(b, uint32(size))
}
