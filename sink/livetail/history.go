package livetail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"fanin/internal/units"
	"fanin/sink"
	"fanin/sink/line"
)

// ErrQuery is wrapped by the error for a request whose parameters are wrong.
var ErrQuery = errors.New("wrong request")

func wrong(err error) error {
	if errors.Is(err, sink.ErrNoPosition) || errors.Is(err, sink.ErrNotInLog) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrQuery, err)
}

// maxAnswers is how many histograms and contexts are made at a time: each may hold some MiB.
const maxAnswers = 4

// answering waits until one more histogram or context may be made.
func (t *Tail) answering(ctx context.Context) (done func(), err error) {
	t.setUp()
	select {
	case t.answers <- struct{}{}:
		return func() { <-t.answers }, nil
	case <-ctx.Done():
		t.counts.refusedAnswers.Add(1)
		return nil, fmt.Errorf("%d histograms and contexts are being made already: %w", maxAnswers, ctx.Err())
	}
}

// Histogram answers a request for a histogram:
//
//	from, to        as from of Tail; default: the whole log. A position stands for the
//	                minute in which its line was read
//	step            seconds, or a duration such as 1h; default: about 240 buckets
//	host, source    as in line.Filter
//	top             how many series have buckets of their own; default 20
func (t *Tail) Histogram(ctx context.Context, v url.Values) (*sink.Histogram, error) {
	done, err := t.answering(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := known(v, "from", "to", "step", "host", "source", "top"); err != nil {
		return nil, wrong(err)
	}
	var q sink.HistogramQuery
	if q.From, err = t.timeOf(ctx, v.Get("from"), "start"); err != nil {
		return nil, err
	}
	if q.To, err = t.timeOf(ctx, v.Get("to"), "end"); err != nil {
		return nil, err
	}
	if q.Step, err = step(v.Get("step")); err != nil {
		return nil, wrong(err)
	}
	top, err := number(v, "top", 20, sink.MaxTop)
	if err != nil {
		return nil, wrong(err)
	}
	q.Top = int(top)
	if len(v["host"])+len(v["source"]) > 0 {
		if q.Names, err = t.Sink.Matcher(line.Filter{Host: v["host"], Source: v["source"]}); err != nil {
			return nil, wrong(err)
		}
	}
	return t.Sink.Histogram(ctx, q)
}

// timeOf returns the time that a place in the log stands for; zero for what is not there, or
// is the open end of that name.
func (t *Tail) timeOf(ctx context.Context, place, open string) (at time.Time, err error) {
	switch place {
	case "", open:
		return at, nil
	case "start", "end": // the wrong one of the two: nothing is before the start, or behind the end
		if place == "end" {
			return time.Now(), nil
		}
		return time.UnixMicro(0), nil
	}
	if p, err := sink.ParsePosition(place); err == nil {
		at, ok, err := t.Sink.TimeAt(ctx, p)
		if err == nil && !ok {
			at = time.Now()
		}
		return at, err
	}
	at, err = sink.ParseTime(place, time.Now())
	return at, err
}

// step reads the length of a bucket.
func step(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := units.ParseDuration(text)
	if n, nerr := strconv.ParseUint(text, 10, 31); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < time.Minute || d%time.Minute != 0 {
		return 0, fmt.Errorf("step=%q: want seconds or a duration, in whole minutes, such as 300 or 1h", text)
	}
	return d, nil
}

// Context is a line of the log, with those around it.
type Context struct {
	Lines      []ContextLine `json:"lines"`
	MoreBefore bool          `json:"more_before"` // the log has lines before these
	MoreAfter  bool          `json:"more_after"`
}

// ContextLine is one line of the log. Lines that are not in the log's format have no host,
// source and time.
type ContextLine struct {
	At     string `json:"at"`   // its position
	Next   string `json:"next"` // that of the line behind it
	Host   string `json:"host"`
	Source string `json:"source"`
	Time   string `json:"time"` // that it shows
	Line   string `json:"line"` // as in the file
	Body   string `json:"body"` // without time, host and source
}

// The bounds of a context: lines on each side of a line, and bytes of them, besides that line.
const (
	maxContext      = 1000
	maxContextBytes = 1 << 20
)

// Context answers a request for the lines around a position:
//
//	at               a position: where a line begins, or within a line
//	before, after    how many lines; default 20
func (t *Tail) Context(ctx context.Context, v url.Values) (*Context, error) {
	done, err := t.answering(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := known(v, "at", "before", "after"); err != nil {
		return nil, wrong(err)
	}
	at, err := sink.ParsePosition(v.Get("at"))
	if err != nil {
		return nil, wrong(err)
	}
	before, err := number(v, "before", 20, maxContext)
	if err != nil {
		return nil, wrong(err)
	}
	after, err := number(v, "after", 20, maxContext)
	if err != nil {
		return nil, wrong(err)
	}
	return t.around(ctx, at, int(before), int(after))
}

func (t *Tail) around(ctx context.Context, at sink.Position, before, after int) (*Context, error) {
	at, err := t.Sink.LineAt(ctx, at)
	if err != nil {
		return nil, err
	}
	all, err := t.Sink.Matcher(line.Filter{})
	if err != nil {
		return nil, err
	}
	first, err := t.Sink.Back(ctx, at, before, all, maxContextBytes)
	if err != nil {
		return nil, err
	}
	earlier, err := t.Sink.Back(ctx, first, 1, all, 1)
	if err != nil {
		return nil, err
	}
	c := &Context{Lines: []ContextLine{}, MoreBefore: earlier != first}
	r := t.Sink.Reader(first)
	defer r.Close()
	buf := make([]byte, 64<<10)
	behind := -1 // lines behind the one at the position; -1: it was not reached
	for size := 0; behind < after && size < maxContextBytes; {
		text, from, err := r.Read(ctx, buf)
		var gone *sink.GoneError
		if errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if text == nil {
			return c, nil
		}
		for len(text) > 0 && behind < after && size < maxContextBytes {
			n := bytes.IndexByte(text, '\n') + 1
			next := sink.Position{Generation: from.Generation, Offset: min(from.Offset+int64(n), r.At().Offset)}
			c.add(t.Sink, text[:n], from, next)
			if from.Compare(at) >= 0 {
				behind, size = behind+1, size+n
			}
			text, from = text[n:], next
		}
		c.MoreAfter = len(text) > 0 || t.Sink.Distance(from, t.Sink.End()) > 0
	}
	return c, nil
}

// add adds a line.
func (c *Context) add(s *sink.Sink, text []byte, at, next sink.Position) {
	f := s.Parts(text)
	c.Lines = append(c.Lines, ContextLine{at.String(), next.String(), string(f.Host), string(f.Source), string(f.Time),
		string(bytes.TrimSuffix(text, []byte{'\n'})), string(f.Body)})
}
