// Package livetail shows the lines of a log to everybody who asks, as they come:
// publish-subscribe over HTTP's server-sent events. Watchers read the file by
// position, each at its own speed; a slow one costs disk, never memory, and
// nobody holds up the writer.
package livetail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/escape"
	"fanin/internal/origin"
	"fanin/internal/units"
	"fanin/sink"
	"fanin/sink/line"
)

// Tail is an http.Handler: one watcher for each request. Set the fields; zero
// ones take the defaults named.
//
//	GET /tail?from=10m&host=web*&include=error&n=100&follow=0&format=json&lag=0
//
// from is what sink.Sink.Place takes; n begins so many (matching) lines before
// the end instead; host, source, include and exclude may be repeated, see
// line.Filter; follow=0 ends at the end of the log; format is line (as in the
// file), body or json; lag is the most bytes to be behind before lines are
// skipped, 0 for never. The header Last-Event-ID, which is a position, wins over
// from and n.
type Tail struct {
	Sink         *sink.Sink
	Log          *slog.Logger  // nil: discard
	MaxWatchers  int           // at a time; more are told to come back; default 1,000
	MaxLookbacks int           // at a time: watchers that look for where to begin, or have not come to the end yet; for half of them, those of one address; default 32
	MaxLag       int64         // default of lag: 256 MiB
	Patience     time.Duration // for a watcher that takes nothing; it may come back and go on; default 30 s

	once    sync.Once
	reading chan struct{} // holds one for each watcher that is reading now
	quit    chan struct{} // closed by Close
	closing sync.Once
	bufs    sync.Pool

	watchers                                             atomic.Int64
	lines, skips, skipped, refused, timeouts, notLooking atomic.Uint64

	mu        sync.Mutex
	lookbacks map[string]int // by address, the control socket being one
	looking   int            // all of them
	fewer     chan struct{}  // closed when one has come to the end
}

func (t *Tail) setUp() {
	t.once.Do(func() {
		if t.Log == nil {
			t.Log = slog.New(slog.DiscardHandler)
		}
		if t.MaxWatchers == 0 {
			t.MaxWatchers = 1000
		}
		if t.MaxLookbacks == 0 {
			t.MaxLookbacks = 32
		}
		t.lookbacks, t.fewer = make(map[string]int), make(chan struct{})
		if t.MaxLag == 0 {
			t.MaxLag = 256 << 20
		}
		if t.Patience == 0 {
			t.Patience = 30 * time.Second
		}
		t.reading = make(chan struct{}, runtime.GOMAXPROCS(0))
		t.quit = make(chan struct{})
	})
}

// Close lets all watchers go; they may come back to whoever has the log next.
func (t *Tail) Close() {
	t.setUp()
	t.closing.Do(func() { close(t.quit) })
}

// The bounds of what all watchers hold together: text just read, and events not
// yet sent.
const (
	allBuffers = 16 << 20
	mostBuffer = 256 << 10
	maxBack    = 256 << 20 // how far n looks back, bytes of text
	maxN       = 1_000_000
)

// bufferSize is what each of so many watchers may hold.
func bufferSize(watchers int64) int {
	return int(min(max(allBuffers/max(watchers, 1), 8<<10), mostBuffer))
}

// pace is how long a watcher at the end of the log waits between two looks, so
// that many of them cost no more than a few.
func pace(watchers int64) time.Duration {
	return max(2*time.Millisecond, time.Duration(watchers)*100*time.Microsecond)
}

// ServeHTTP shows lines until the watcher leaves, or the log's end is reached if
// that was asked for.
func (t *Tail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.setUp()
	if n := t.watchers.Add(1); n > int64(t.MaxWatchers) {
		t.watchers.Add(-1)
		t.refused.Add(1)
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d watch already; come back later, or raise collector.http.max_watchers", t.MaxWatchers), http.StatusServiceUnavailable)
		return
	}
	defer t.watchers.Add(-1)
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{}) // a watcher sends nothing for as long as it watches
	arrived, ok := t.lookBack(r)
	if !ok {
		t.notLooking.Add(1)
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("too many look back into the log already, %d in all or half of that from one address; come back later, watch from the end, or raise collector.http.max_lookbacks", t.MaxLookbacks), http.StatusServiceUnavailable)
		return
	}
	defer arrived()
	q, err := t.query(r)
	if err != nil {
		t.refused.Add(1)
		code := http.StatusBadRequest
		if errors.Is(err, sink.ErrNoPosition) {
			code = http.StatusGone
		}
		http.Error(w, escape.Lines(err.Error()), code)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Fanin-Log", t.Sink.Status().Log)
	h.Set("Fanin-Format", t.Sink.Format)
	wa := &watcher{tail: t, query: q, arrived: arrived, out: &events{w: w, rc: rc, patience: t.Patience}, reader: t.Sink.Reader(q.at)}
	defer wa.reader.Close()
	if err := wa.run(r.Context()); err != nil && r.Context().Err() == nil {
		t.timeouts.Add(1)
		t.Log.Info("a watcher was let go; it may come back and go on where it was", "peer", r.RemoteAddr, "at", wa.reader.At().String(), "err", err)
	}
}

// lookBack waits until a watcher may look back that does not begin at the end of
// the log: it may have to read all of it. arrived, which may be called twice, is
// for when it has come to the end. ok is false when there was no room in time.
func (t *Tail) lookBack(r *http.Request) (arrived func(), ok bool) {
	v := r.URL.Query()
	from, n := v.Get("from"), v.Get("n")
	if (from == "" || from == "end") && v.Get("since") == "" && (n == "" || n == "0") && r.Header.Get("Last-Event-ID") == "" {
		return func() {}, true
	}
	peer := origin.Name(origin.Parse(r.RemoteAddr))
	late := time.NewTimer(t.Patience)
	defer late.Stop()
	for {
		fewer := t.look(peer)
		if fewer == nil {
			return sync.OnceFunc(func() { t.lookedBack(peer) }), true
		}
		select {
		case <-fewer:
		case <-late.C:
			return nil, false
		case <-r.Context().Done():
			return nil, false
		case <-t.quit:
			return nil, false
		}
	}
}

// look counts one more that looks back, or returns what is closed when there are fewer.
func (t *Tail) look(peer string) (fewer <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.looking >= t.MaxLookbacks || t.lookbacks[peer] >= (t.MaxLookbacks+1)/2 {
		return t.fewer
	}
	t.looking++
	t.lookbacks[peer]++
	return nil
}

func (t *Tail) lookedBack(peer string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.looking--
	if t.lookbacks[peer]--; t.lookbacks[peer] == 0 {
		delete(t.lookbacks, peer)
	}
	close(t.fewer)
	t.fewer = make(chan struct{})
}

// query is what a watcher asked for.
type query struct {
	at     sink.Position
	match  *line.Matcher
	follow bool
	format string
	lag    int64
}

func (t *Tail) query(r *http.Request) (q query, err error) {
	v := r.URL.Query()
	if err := known(v, "from", "n", "host", "source", "include", "exclude", "follow", "format", "lag", "since"); err != nil {
		return q, err
	}
	f := line.Filter{Host: v["host"], Source: v["source"], Include: v["include"], Exclude: v["exclude"]}
	from := v.Get("from")
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
	q.at, err = t.begin(r, v, from, q.match)
	return q, err
}

// begin finds where to begin.
func (t *Tail) begin(r *http.Request, v url.Values, from string, match *line.Matcher) (sink.Position, error) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		at, err := sink.ParsePosition(id)
		if err != nil {
			return at, fmt.Errorf("Last-Event-ID: %w", err)
		}
		return t.Sink.Place(r.Context(), at.String())
	}
	n, err := number(v, "n", 0, maxN)
	if err != nil {
		return sink.Position{}, err
	}
	if n > 0 && from == "" {
		return t.Sink.Back(r.Context(), t.Sink.End(), int(n), match, maxBack)
	}
	return t.Sink.Place(r.Context(), from)
}

// known refuses what a watcher may have mistyped.
func known(v url.Values, keys ...string) error {
	for key := range v {
		ok := false
		for _, k := range keys {
			ok = ok || k == key
		}
		if !ok {
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

// turn waits for this watcher's turn to read.
func (t *Tail) turn(ctx context.Context) bool {
	select {
	case t.reading <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *Tail) done() { <-t.reading }

// buffer lends a buffer of this size; giveBack takes it again.
func (t *Tail) buffer(size int) *[]byte {
	if b, ok := t.bufs.Get().(*[]byte); ok && cap(*b) >= size && cap(*b) <= 2*size {
		*b = (*b)[:size]
		return b
	}
	b := make([]byte, size)
	return &b
}

func (t *Tail) giveBack(b *[]byte) { t.bufs.Put(b) }
