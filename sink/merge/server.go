package merge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/escape"
	"fanin/internal/units"
	"fanin/sink"
)

// Server is an http.Handler: it sends lines of a log by position, as they are in its files, with the times at which
// they were read. Set Sink; zero fields take the defaults named.
//
//	GET /read?from=3:4096&most=1MiB&wait=15s
//
// from is as in sink.Sink.Resolve; default: the oldest line. The answer has lines of one file, up to most bytes or one
// line that is longer; default and most that may be asked for: 1 MiB. At the end of the log it waits for lines for as
// long as wait says, up to 30 s; default: not at all. See answer for its format.
type Server struct {
	Sink *sink.Sink

	// Look, if not nil, is called at the beginning of each answer: it looks at a log that another process may write.
	Look func(ctx context.Context) error

	MaxReads int           // answers at a time that are being read or sent; default 16
	Patience time.Duration // with a client that receives nothing; default 30 s

	once    sync.Once
	reading chan struct{}
	counts  readCounts
}

// readCounts are totals.
type readCounts struct {
	answers, refused, bytes atomic.Uint64
}

const (
	maxRead     = 1 << 20
	maxWait     = 30 * time.Second
	maxReads    = 16
	maxPatience = 30 * time.Second
)

// ServeHTTP answers one request.
func (x *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.once.Do(func() { x.reading = make(chan struct{}, cmp.Or(x.MaxReads, maxReads)) })
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{}) // the client sends nothing while it waits
	q, err := x.query(r)
	if err == nil {
		err = x.await(r.Context(), &q)
	}
	if err != nil {
		x.counts.refused.Add(1)
		http.Error(w, escape.Lines(err.Error()), statusOf(err))
		return
	}
	select {
	case x.reading <- struct{}{}:
		defer func() { <-x.reading }()
	default:
		x.counts.refused.Add(1)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many clients read the log now; try again later", http.StatusServiceUnavailable)
		return
	}
	a, err := x.read(r.Context(), &q)
	if err != nil {
		x.counts.refused.Add(1)
		http.Error(w, escape.Lines(err.Error()), statusOf(err))
		return
	}
	a.setHeader(w.Header())
	rc.SetWriteDeadline(time.Now().Add(cmp.Or(x.Patience, maxPatience)))
	w.Write(appendSpans(nil, a.spans)) // a client that is gone asks again
	w.Write(a.text)
	x.counts.answers.Add(1)
	x.counts.bytes.Add(uint64(len(a.text)))
}

// readQuery is what a request asks for.
type readQuery struct {
	at   sink.Position
	most int64
	wait time.Duration
}

var errQuery = errors.New("a wrong parameter")

func (x *Server) query(r *http.Request) (q readQuery, err error) {
	if x.Look != nil {
		if err := x.Look(r.Context()); err != nil {
			return q, err
		}
	}
	v := r.URL.Query()
	q.most = maxRead
	if text := v.Get("most"); text != "" {
		if q.most, err = units.ParseBytes(text); err != nil {
			return q, fmt.Errorf("%w: most: %w", errQuery, err)
		}
		q.most = min(q.most, maxRead)
	}
	if text := v.Get("wait"); text != "" {
		if q.wait, err = units.ParseDuration(text); err != nil {
			return q, fmt.Errorf("%w: wait: %w", errQuery, err)
		}
		q.wait = min(q.wait, maxWait)
	}
	q.at, err = x.Sink.Resolve(r.Context(), cmp.Or(v.Get("from"), "start"))
	return q, err
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, sink.ErrNoPosition):
		return http.StatusGone
	case errors.Is(err, sink.ErrNotInLog), errors.Is(err, errQuery):
		return http.StatusBadRequest
	}
	return http.StatusServiceUnavailable
}

// await waits for lines at the end of the log.
func (x *Server) await(ctx context.Context, q *readQuery) error {
	if q.wait <= 0 {
		return nil
	}
	end := time.NewTimer(q.wait)
	defer end.Stop()
	for {
		grown := x.Sink.Grown() // before the look
		if x.Sink.End() != q.at {
			return nil
		}
		select {
		case <-grown:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read reads lines.
func (x *Server) read(ctx context.Context, q *readQuery) (a answer, err error) {
	a = answer{log: x.Sink.LogID().String(), format: x.Sink.Format, at: q.at, next: q.at}
	if q.most == 0 {
		return a, nil
	}
	r, times := x.Sink.Reader(q.at), x.Sink.Times()
	defer r.Close()
	defer times.Close()
	a.text, a.at, err = r.Read(ctx, make([]byte, q.most))
	a.next = r.At()
	if errors.As(err, &a.gone) {
		a.at = a.gone.To
		return a, nil
	}
	if err == nil && len(a.text) > 0 {
		a.spans, err = times.Spans(nil, a.text, a.at)
	}
	return a, err
}
