package livetail

import (
	"bufio"
	"bytes"
	"io"
)

// Event is one server-sent event. An event without data reports only how far the log was
// searched: its ID is a position to resume at.
type Event struct {
	Kind string // "": a line
	ID   string // position after the event; "": as the last one
	Data []byte // nil: none; valid until the next event is read
}

// EventReader reads server-sent events, as Tail sends them.
type EventReader struct {
	r    *bufio.Reader
	data []byte
}

// NewEventReader returns a reader of the body of a response.
func NewEventReader(body io.Reader) *EventReader {
	return &EventReader{r: bufio.NewReaderSize(body, 64<<10)}
}

// Buffered reports whether bytes are here that were received and not read.
func (e *EventReader) Buffered() bool { return e.r.Buffered() > 0 }

// Next returns the next event. Comments are events of which all fields are zero. The
// error is that of the connection.
func (e *EventReader) Next() (ev Event, err error) {
	for {
		text, err := e.r.ReadBytes('\n')
		if err != nil {
			return Event{}, err
		}
		field, value, _ := bytes.Cut(text[:len(text)-1], []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "event":
			ev.Kind = string(value)
		case "id":
			ev.ID = string(value)
		case "data":
			if ev.Data == nil {
				ev.Data = e.data[:0]
			} else {
				ev.Data = append(ev.Data, '\n')
			}
			ev.Data = append(ev.Data, value...)
			if ev.Data == nil {
				ev.Data = []byte{}
			}
			e.data = ev.Data
		case "":
			if len(text) == 1 {
				return ev, nil
			}
		}
	}
}
