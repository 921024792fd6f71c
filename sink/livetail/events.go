package livetail

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"fanin/internal/escape"
	"fanin/sink"
)

// events writes server-sent events (HTML Living Standard, 9.2):
//
//	id: 3:4173           the position after the line: a request with this Last-Event-ID
//	data: the line       resumes with the next line
//	                     (an empty line ends an event)
//	event: skipped       lines that were not sent: the watcher was too slow, or they
//	id: 5:0              are gone. A request from=3:4173 gets what still exists
//	data: {"from":"3:4173","to":"5:0","lines":1234,"exact":true}
//
//	event: end           the end of the log, when follow=0
//	id: 5:812
//	data:
//
//	event: failed        the log cannot be read behind the last id: to ask again there is of no use
//	data: the reason
type events struct {
	w        io.Writer
	rc       *http.ResponseController
	patience time.Duration
	buf      []byte
	last     sink.Position // of the last id
	broken   error         // of the connection
	turn     chan struct{} // has an element of this watcher's until it sends, see Tail.waitTurn; nil: it has none
}

// borrow takes a buffer of a pool until it is given back, when all of it was sent.
func (e *events) borrow(from *sync.Pool) (giveBack func()) {
	b, _ := from.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	e.buf = *b
	return func() {
		*b, e.buf = e.buf[:0], nil
		from.Put(b)
	}
}

// endTurn lets another watcher work.
func (e *events) endTurn() {
	if e.turn != nil {
		<-e.turn
		e.turn = nil
	}
}

// full is how many bytes are collected for a write.
const full = 32 << 10

// id adds the position after an event.
func (e *events) id(at sink.Position) {
	e.buf = append(e.buf, "id: "...)
	e.buf = strconv.AppendUint(e.buf, at.Generation, 10)
	e.buf = append(e.buf, ':')
	e.buf = strconv.AppendInt(e.buf, at.Offset, 10)
	e.buf = append(e.buf, '\n')
	e.last = at
}

// line adds the event of one line. A CR within a raw line would end the field, so it is
// sent as a newline, as in the standard.
func (e *events) line(at sink.Position, data []byte) error {
	e.id(at)
	data = bytes.TrimSuffix(data, []byte{'\r'})
	for {
		piece, rest, more := bytes.Cut(data, []byte{'\r'})
		e.buf = append(e.buf, "data: "...)
		e.buf = append(e.buf, piece...)
		e.buf = append(e.buf, '\n')
		if !more {
			break
		}
		data = rest
	}
	e.buf = append(e.buf, '\n')
	if len(e.buf) < full {
		return nil
	}
	return e.write()
}

// skipped sends the event of lines that were not sent.
func (e *events) skipped(from, to sink.Position, lines uint64, exact bool) error {
	data, err := json.Marshal(Skipped{From: from.String(), To: to.String(), Lines: lines, Exact: exact})
	if err != nil {
		return err
	}
	e.buf = append(e.buf, "event: skipped\n"...)
	e.id(to)
	e.buf = append(append(append(e.buf, "data: "...), data...), "\n\n"...)
	return e.write()
}

// Skipped is the data of an event "skipped".
type Skipped struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Lines uint64 `json:"lines"` // of the log: those that the filters match are not counted apart
	Exact bool   `json:"exact"` // false: they are gone, and not all can be counted
}

// end sends the event of the end of the log.
func (e *events) end() error {
	e.buf = append(e.buf, "event: end\ndata:\n\n"...)
	return e.write()
}

// failed sends the event of a log that cannot be read.
func (e *events) failed(why error) error {
	e.buf = append(append(append(e.buf, "event: failed\ndata: "...), escape.String(why.Error())...), "\n\n"...)
	return e.write()
}

// comment sends a comment, which programs ignore. It keeps the connection alive.
func (e *events) comment(text string) error {
	e.buf = append(append(append(e.buf, ": "...), text...), "\n\n"...)
	return e.write()
}

// flush sends what was added. When no line of a long part of the log matched, it sends the
// position reached, so that a watcher that resumes does not search that part again.
func (e *events) flush(at sink.Position) error {
	if len(e.buf) == 0 {
		if at.Generation == e.last.Generation && at.Offset-e.last.Offset < 1<<20 {
			return nil
		}
		e.id(at)
		e.buf = append(e.buf, '\n') // an event without data is not dispatched, but its id counts
	}
	return e.write()
}

// write sends the buffer. The watcher must receive it within patience.
func (e *events) write() error {
	e.endTurn()
	e.rc.SetWriteDeadline(time.Now().Add(e.patience))
	_, err := e.w.Write(e.buf)
	if err == nil {
		err = e.rc.Flush()
	}
	e.broken = err
	e.buf = e.buf[:0]
	if cap(e.buf) > 2*full {
		e.buf = nil
	}
	return err
}
