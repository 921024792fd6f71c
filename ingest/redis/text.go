package redis

import (
	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// lines appends a message to dst as whole lines, none too long; nothing, if it has no line.
// It changes the message.
func (n *Input) lines(in *counters.Input, dst, message []byte) []byte {
	text := ingest.TrimEnd(message)
	if len(text) == 0 {
		return dst
	}
	begin := len(dst)
	dst = append(append(dst, text...), '\n')
	if lines.FirstLong(dst[begin:], n.Lines.MaxLine) == len(dst)-begin {
		return dst
	}
	out, divided := lines.Split(nil, dst[begin:], n.Lines.MaxLine)
	in.Split(divided)
	return append(dst[:begin], out...)
}

// sourceOf is the source of a channel's or a key's lines. A name may have bytes that a source
// may not have: the log would refuse the batch.
func sourceOf(name string) string {
	if name == wire.SourceNotice {
		return "redis/" + name
	}
	return wire.CleanSource(name)
}
