package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"fanin/internal/escape"
	"fanin/internal/retry"
	"fanin/sink"
)

// Remote is the Source of a log at another collector, whose Server is asked. Set the fields.
type Remote struct {
	Client *http.Client
	URL    string            // of the collector
	Query  url.Values        // is added to each request
	Follow bool              // the end is waited at, and a collector that does not answer is waited for
	Failed func(error) error // explains why the collector cannot be reached; nil: the error does

	log    string // id
	format string
}

// ErrAnotherLog is the error of a collector that has another log by now: positions mean nothing in it.
var ErrAnotherLog = errors.New("it has another log now")

// Begin asks the collector for the first time.
func (x *Remote) Begin(ctx context.Context) error {
	_, err := x.End(ctx)
	return err
}

// Format is that of the lines, once the collector has been asked.
func (x *Remote) Format() string { return x.format }

// End is where the log ends, see Source.
func (x *Remote) End(ctx context.Context) (sink.Position, error) { return x.position(ctx, "end") }

// Since finds a time, see Source.
func (x *Remote) Since(ctx context.Context, t time.Time) (sink.Position, error) {
	return x.position(ctx, t.UTC().Format(time.RFC3339Nano))
}

func (x *Remote) position(ctx context.Context, from string) (sink.Position, error) {
	var a answer
	_, err := x.ask(ctx, url.Values{"from": {from}, "most": {"0"}}, nil, &a)
	return a.at, err
}

// Open begins to read, see Source.
func (x *Remote) Open(at sink.Position) Text {
	return &remoteText{remote: x, at: at, pauses: retry.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}}
}

// statusError is an answer that has no lines.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// maxAnswer is more than the body of an answer has: a line may be longer than what was asked for.
const maxAnswer = 32 << 20

// ask sends a request and reads its answer into memory, which may be larger than buf.
func (x *Remote) ask(ctx context.Context, q url.Values, buf []byte, a *answer) ([]byte, error) {
	for key, values := range x.Query {
		q[key] = values
	}
	r, err := http.NewRequestWithContext(ctx, "GET", x.URL+"/read?"+q.Encode(), nil)
	if err != nil {
		return buf, err
	}
	resp, err := x.Client.Do(r)
	if err != nil {
		if x.Failed != nil {
			return buf, x.Failed(err)
		}
		return buf, fmt.Errorf("read the log of %s: %w", x.URL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return buf, &statusError{resp.StatusCode,
			fmt.Sprintf("%s answered: %s", x.URL, escape.Lines(string(bytes.TrimSpace(text))))}
	}
	if buf, err = readBody(resp, buf); err == nil {
		err = errors.Join(a.parseHeader(resp.Header), a.parseBody(buf))
	}
	if err != nil {
		return buf, fmt.Errorf("the answer of %s: %w", x.URL, err)
	}
	if x.log == "" {
		x.log, x.format = a.log, a.format
	}
	if a.log != x.log {
		return buf, fmt.Errorf("%s: %w: %s instead of %s", x.URL, ErrAnotherLog, escape.String(a.log), x.log)
	}
	return buf, nil
}

func readBody(resp *http.Response, buf []byte) ([]byte, error) {
	if n := resp.ContentLength; n < 0 || n > maxAnswer {
		return buf, errAnswer
	} else if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:resp.ContentLength]
	_, err := io.ReadFull(resp.Body, buf)
	return buf, err
}

// remoteText reads the log of another collector.
type remoteText struct {
	remote *Remote
	at     sink.Position // zero: the beginning
	answer answer
	latest int64
	pauses retry.Backoff
}

func (x *remoteText) At() sink.Position { return x.at }

func (x *remoteText) Close() error { return nil }

// Wait waits for nothing: a request waits at the end of the log.
func (x *remoteText) Wait(ctx context.Context) error { return ctx.Err() }

// maxTries is how often a collector is asked that does not answer, or has too much to do, when its log is not followed.
const maxTries = 10

// Read asks for lines, until an answer comes. When the log is followed, it asks once.
func (x *remoteText) Read(ctx context.Context, buf []byte) (text []byte, at sink.Position, err error) {
	q := url.Values{"most": {strconv.Itoa(len(buf) * 3 / 4)}}
	if x.at != (sink.Position{}) {
		q.Set("from", x.at.String())
	}
	if x.remote.Follow {
		q.Set("wait", "2s") // then it may be at another collector
	}
	for tries := 1; ; tries++ {
		if _, err = x.remote.ask(ctx, q, buf[:0], &x.answer); err == nil {
			break
		}
		if !passes(err) || tries == maxTries || x.pauses.Wait(ctx) != nil {
			return nil, x.at, err
		}
		if x.remote.Follow {
			return nil, x.at, nil // the partition may be elsewhere by now
		}
	}
	x.pauses.Reset()
	a := &x.answer
	x.at = a.next
	if a.gone != nil {
		return nil, x.at, a.gone
	}
	return a.text, a.at, nil
}

// passes reports whether an error may be over when the collector is asked again.
func passes(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.code == http.StatusServiceUnavailable
	}
	return !errors.Is(err, ErrAnotherLog) && !errors.Is(err, errAnswer)
}

// Spans appends the times that came with the lines, see Text.
func (x *remoteText) Spans(dst []sink.Span, text []byte, _ sink.Position) ([]sink.Span, error) {
	for _, s := range x.answer.spans {
		x.latest = max(x.latest, s.Time)
		dst = append(dst, sink.Span{End: min(s.End, len(text)), Time: x.latest})
		if s.End >= len(text) {
			break
		}
	}
	return dst, nil
}
