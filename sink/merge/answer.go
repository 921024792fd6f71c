package merge

import (
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"

	"fanin/sink"
)

// An answer to a request for lines, see Server. Its headers:
//
//	Fanin-Log        id of the log
//	Fanin-Format     of its lines: syslog, json, raw
//	Fanin-Position   of the first line, or where it will be: generation:offset
//	Fanin-Next       where the next request continues
//	Fanin-Gone       the lines from this position to Fanin-Position no longer exist; the answer has no text
//
// Its body; numbers are little endian:
//
//	0  u32  number of spans, n
//	4  n times:
//	     u32  byte of the text behind its lines
//	     i64  when they were read, in microseconds since 1970; none is earlier than the one before
//	.  whole lines of one file of the log
const (
	headerLog      = "Fanin-Log"
	headerFormat   = "Fanin-Format"
	headerPosition = "Fanin-Position"
	headerNext     = "Fanin-Next"
	headerGone     = "Fanin-Gone"
	spanSize       = 12
)

// answer is one answer.
type answer struct {
	log, format string
	at, next    sink.Position
	gone        *sink.GoneError
	spans       []sink.Span
	text        []byte
}

// appendSpans appends the part of a body that is before its text.
func appendSpans(dst []byte, spans []sink.Span) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(spans)))
	for _, s := range spans {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.End))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Time))
	}
	return dst
}

var errAnswer = errors.New("a damaged answer")

// parseBody reads a body. Its text points into b.
func (a *answer) parseBody(b []byte) error {
	if len(b) < 4 {
		return errAnswer
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n*spanSize > uint64(len(b)-4) {
		return errAnswer
	}
	spans, text := b[4:4+n*spanSize], b[4+n*spanSize:]
	a.spans, a.text = a.spans[:0], text
	before := sink.Span{Time: -1 << 63}
	for ; len(spans) > 0; spans = spans[spanSize:] {
		s := sink.Span{End: int(binary.LittleEndian.Uint32(spans)), Time: int64(binary.LittleEndian.Uint64(spans[4:]))}
		if s.End <= before.End || s.Time < before.Time || s.End > len(text) || text[s.End-1] != '\n' {
			return errAnswer
		}
		a.spans, before = append(a.spans, s), s
	}
	if before.End != len(text) {
		return errAnswer
	}
	return nil
}

// setHeader sets the headers of an answer.
func (a *answer) setHeader(h http.Header) {
	h.Set(headerLog, a.log)
	h.Set(headerFormat, a.format)
	h.Set(headerPosition, a.at.String())
	h.Set(headerNext, a.next.String())
	if a.gone != nil {
		h.Set(headerGone, a.gone.From.String())
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(4+spanSize*len(a.spans)+len(a.text)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// parseHeader reads the headers of an answer.
func (a *answer) parseHeader(h http.Header) (err error) {
	a.log, a.format, a.gone = h.Get(headerLog), h.Get(headerFormat), nil
	if a.at, err = sink.ParsePosition(h.Get(headerPosition)); err != nil {
		return err
	}
	if a.next, err = sink.ParsePosition(h.Get(headerNext)); err != nil {
		return err
	}
	if gone := h.Get(headerGone); gone != "" {
		from, err := sink.ParsePosition(gone)
		a.gone = &sink.GoneError{From: from, To: a.at}
		return err
	}
	return nil
}
