package livetail

import (
	"context"
	"errors"
	"net/http"
	"time"

	"fanin/internal/escape"
	"fanin/sink"
)

// Download is an http.Handler: it sends lines of the log as a file.
//
//	GET /download?from=1d&to=1h&host=web*&include=error&format=line
//
// from and to are as from of Tail; by default, all of the log is sent. The other parameters
// are those of Tail, too. If lines are removed while they are being sent, the connection is
// closed before the end of the answer, so that the file cannot pass for whole.
type Download struct{ Tail *Tail }

// ServeHTTP sends the lines.
func (d Download) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := d.Tail
	t.setUp()
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{}) // the client sends nothing more, however long the answer takes
	arrived, ok := t.lookBack(r)
	if !ok {
		t.refuseLookback(w)
		return
	}
	defer arrived()
	q, err := t.query(r, "start", "from", "to", "since", "host", "source", "include", "exclude", "format")
	if err != nil {
		t.counts.refused.Add(1)
		http.Error(w, escape.Lines(err.Error()), statusOf(err))
		return
	}
	if q.to == (sink.Position{}) {
		q.to = t.Sink.End()
	}
	s := &download{tail: t, query: q, w: w, rc: rc, search: t.search(q)}
	defer s.search.Close()
	s.run(r.Context())
}

// download is one answer.
type download struct {
	tail   *Tail
	query  query
	w      http.ResponseWriter
	rc     *http.ResponseController
	search *sink.Search
	begun  bool // something was sent
	buf    []byte
}

// run sends lines. Before the first of them, an error has a status; later it cuts the answer off.
func (d *download) run(ctx context.Context) {
	err := d.lines(ctx)
	if err == nil {
		err = d.write()
	}
	if err == nil {
		return
	}
	if !d.begun {
		http.Error(d.w, escape.Lines(err.Error()), statusOf(err))
		return
	}
	d.tail.counts.cutOff.Add(1)
	d.tail.Log.Info("a download was cut off", "at", d.search.At().String(), "err", err)
	if conn, _, err := d.rc.Hijack(); err == nil {
		conn.Close()
	}
}

func (d *download) lines(ctx context.Context) error {
	for {
		b, err := d.search.Next(ctx)
		if err != nil || b == nil {
			return err
		}
		for at, text := range b.Lines() {
			data := d.tail.data(d.query.format, text[:len(text)-1], at)
			d.buf = append(append(d.buf, data...), '\n')
			if len(d.buf) >= full {
				if err := d.write(); err != nil {
					return err
				}
			}
		}
		if d.tail.closed() {
			return errClosing
		}
	}
}

var errClosing = errors.New("the collector stops")

// write sends what was collected. The client must receive it within patience.
func (d *download) write() error {
	if !d.begun {
		d.begun = true
		h := d.w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="`+fileNames[d.query.format]+`"`)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
	}
	d.rc.SetWriteDeadline(time.Now().Add(d.tail.Patience))
	_, err := d.w.Write(d.buf)
	d.buf = d.buf[:0]
	return err
}

// fileNames are what browsers call a download, by format.
var fileNames = map[string]string{formatLine: "fanin.log", formatBody: "fanin.txt", formatJSON: "fanin.jsonl"}

// statusOf is the HTTP status of an error in a request.
func statusOf(err error) int {
	var gone *sink.GoneError
	switch {
	case errors.Is(err, sink.ErrNoPosition), errors.As(err, &gone):
		return http.StatusGone
	case errors.Is(err, errClosing):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}
