package livetail

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"fanin/internal/units"
	"fanin/sink"
	"fanin/sink/line"
)

// query is what a watcher asks for.
type query struct {
	at     sink.Position
	to     sink.Position // zero: no bound
	match  *line.Matcher
	follow bool
	format string
	lag    int64
}

// tailParameters are those of Tail.
var tailParameters = []string{"from", "to", "n", "host", "source", "include", "exclude", "follow", "format", "lag",
	"since"}

// query reads the parameters of a request, of which these are known. It begins at a place if
// they name none.
func (t *Tail) query(r *http.Request, begin string, parameters ...string) (q query, err error) {
	v := r.URL.Query()
	if err = known(v, parameters...); err != nil {
		return q, err
	}
	f := line.Filter{Host: v["host"], Source: v["source"], Include: v["include"], Exclude: v["exclude"]}
	from := v.Get("from")
	if from == "" && v.Get("n") == "" {
		from = begin
	}
	if since := v.Get("since"); since != "" {
		if f.Since, err = sink.ParseTime(since, time.Now()); err != nil {
			return q, err
		}
		from = f.Since.Format(time.RFC3339Nano)
	}
	if q.match, err = t.Sink.Matcher(f); err != nil {
		return q, err
	}
	if q.follow, err = boolean(v, "follow", true); err != nil {
		return q, err
	}
	if q.lag, err = size(v, "lag", t.MaxLag); err != nil {
		return q, err
	}
	switch q.format = v.Get("format"); q.format {
	case "":
		q.format = formatLine
	case formatLine, formatBody, formatJSON:
	default:
		return q, fmt.Errorf("format %q: want line, body or json", q.format)
	}
	if to := v.Get("to"); to != "" {
		q.follow = false
		if q.to, err = t.Sink.Resolve(r.Context(), to); err != nil {
			return q, err
		}
	}
	q.at, err = t.begin(r, from, &q)
	return q, err
}

// begin returns the position where a watcher begins.
func (t *Tail) begin(r *http.Request, from string, q *query) (sink.Position, error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		at, err := sink.ParsePosition(id)
		if err != nil {
			return at, fmt.Errorf("Last-Event-ID: %w", err)
		}
		return t.Sink.Resolve(r.Context(), at.String())
	}
	n, err := number(r.URL.Query(), "n", 0, maxN)
	if err != nil {
		return sink.Position{}, err
	}
	if n > 0 && from == "" {
		end := q.to
		if end == (sink.Position{}) {
			end = t.Sink.End()
		}
		return t.Sink.Back(r.Context(), end, int(n), q.match, maxBack)
	}
	return t.Sink.Resolve(r.Context(), from)
}

// known returns an error for a parameter that does not exist: it may be a typing error.
func known(v url.Values, keys ...string) error {
	for key := range v {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("unknown parameter %q; known are %q", key, keys)
		}
	}
	return nil
}

func boolean(v url.Values, key string, def bool) (bool, error) {
	if !v.Has(key) {
		return def, nil
	}
	b, err := strconv.ParseBool(v.Get(key))
	if err != nil {
		return false, fmt.Errorf("%s=%q: want 0 or 1", key, v.Get(key))
	}
	return b, nil
}

// size reads a number of bytes, with a unit or without.
func size(v url.Values, key string, def int64) (int64, error) {
	if !v.Has(key) {
		return def, nil
	}
	n, err := units.ParseBytes(v.Get(key))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	return n, nil
}

func number(v url.Values, key string, def, most int64) (int64, error) {
	if !v.Has(key) {
		return def, nil
	}
	n, err := strconv.ParseInt(v.Get(key), 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s=%q: want a number from 0 to %d", key, v.Get(key), most)
	}
	return n, nil
}
