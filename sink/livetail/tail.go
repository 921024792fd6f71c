// Package livetail shows the lines of a log as they are committed, to everyone that asks:
// publish-subscribe over server-sent events of HTTP, and over NATS. Watchers read the
// file by position, each at its own speed. A slow watcher costs disk space, never
// memory, and none delays the writer.
package livetail

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/escape"
	"fanin/sink"
)

// Tail is an http.Handler: one watcher for each request. Set the fields; zero ones take
// the defaults named.
//
//	GET /tail?from=10m&host=web*&include=error&n=100&follow=0&format=json&lag=0
//
// from is as in sink.Sink.Resolve. With to, which is like it, the answer ends there. With n
// instead of from, a watcher begins that many (matching) lines before the end. host, source,
// include and exclude may be repeated, see line.Filter. follow=0 ends at the end of the log.
// format is line (as in the file), body or json. lag is how many bytes a watcher may be behind
// before lines are skipped; 0: none are. The header Last-Event-ID, which is a position, takes
// precedence over from and n.
type Tail struct {
	Sink *sink.Sink
	Log  *slog.Logger // nil: discard

	MaxWatchers int // at a time; default 1,000. Use changes this and the next while it works

	// MaxLookbacks is how many watchers at a time may search for their position or have not
	// reached the end yet; half as many from one address. Default 32.
	MaxLookbacks int

	MaxLag   int64         // default of lag; default 256 MiB
	Patience time.Duration // with a watcher that receives nothing; it may come back and resume; default 30 s

	once      sync.Once
	most      atomic.Int64  // watchers
	reading   chan struct{} // holds one element for each watcher that is reading now
	quit      chan struct{} // closed by Close
	closing   sync.Once
	answers   chan struct{} // holds one element for each histogram and context that is being made
	bufs      sync.Pool     // for text
	outs      sync.Pool     // for events
	lookbacks lookbacks
	counts    counts
}

// counts are totals over all watchers.
type counts struct {
	watchers        atomic.Int64 // now
	lines           atomic.Uint64
	skips           atomic.Uint64
	skipped         atomic.Uint64 // lines
	refused         atomic.Uint64
	refusedLookback atomic.Uint64
	timeouts        atomic.Uint64
	refusedAnswers  atomic.Uint64
	cutOff          atomic.Uint64 // downloads
}

func (t *Tail) setUp() {
	t.once.Do(func() {
		if t.Log == nil {
			t.Log = slog.New(slog.DiscardHandler)
		}
		t.MaxWatchers = cmp.Or(t.MaxWatchers, defaultWatchers)
		t.MaxLookbacks = cmp.Or(t.MaxLookbacks, defaultLookbacks)
		t.most.Store(int64(t.MaxWatchers))
		t.MaxLag = cmp.Or(t.MaxLag, 256<<20)
		t.Patience = cmp.Or(t.Patience, 30*time.Second)
		l := &t.lookbacks
		l.max, l.byPeer, l.fewer = t.MaxLookbacks, make(map[string]int), make(chan struct{})
		t.reading = make(chan struct{}, runtime.GOMAXPROCS(0))
		t.answers = make(chan struct{}, maxAnswers)
		t.quit = make(chan struct{})
	})
}

// Use puts other limits into force; 0 is the default. Watchers that are there stay.
func (t *Tail) Use(maxWatchers, maxLookbacks int) {
	t.setUp()
	t.most.Store(int64(cmp.Or(maxWatchers, defaultWatchers)))
	t.lookbacks.use(cmp.Or(maxLookbacks, defaultLookbacks))
}

const (
	defaultWatchers  = 1000
	defaultLookbacks = 32
)

// Close ends all requests; the watchers may resume at the next collector of the log.
func (t *Tail) Close() {
	t.setUp()
	t.closing.Do(func() { close(t.quit) })
}

func (t *Tail) closed() bool {
	select {
	case <-t.quit:
		return true
	default:
		return false
	}
}

// The bounds of what all watchers hold together: text that was read, and events that are
// not yet sent.
const (
	allBuffers = 16 << 20
	maxBuffer  = 256 << 10
	maxBack    = 256 << 20 // how far n looks back, bytes of text
	allAhead   = 16        // members of archives, of 1 MiB of text, that all who look back may hold; one each at least
	maxN       = 1_000_000
)

// bufferSize returns how much each of so many watchers may hold.
func bufferSize(watchers int64) int {
	return int(min(max(allBuffers/max(watchers, 1), 8<<10), maxBuffer))
}

// pace returns how long a watcher at the end of the log waits between two looks, so that
// many of them cost no more than a few.
func pace(watchers int64) time.Duration {
	return max(2*time.Millisecond, time.Duration(watchers)*100*time.Microsecond)
}

// ServeHTTP sends lines until the watcher disconnects, or until the end of the log if
// that was asked for.
func (t *Tail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.setUp()
	if n, most := t.counts.watchers.Add(1), t.most.Load(); n > most {
		t.counts.watchers.Add(-1)
		t.counts.refused.Add(1)
		later(w, fmt.Sprintf("%d watchers are connected already; try again later, or raise collector.http.max_watchers",
			most))
		return
	}
	defer t.counts.watchers.Add(-1)
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{}) // a watcher sends nothing as long as it watches
	arrived, back := func() {}, looksBack(r)
	if back {
		var ok bool
		if arrived, ok = t.lookBack(r); !ok {
			t.refuseLookback(w)
			return
		}
		defer arrived()
	}
	q, err := t.query(r, "", tailParameters...)
	if err != nil {
		t.counts.refused.Add(1)
		http.Error(w, escape.Lines(err.Error()), statusOf(err))
		return
	}
	t.header(w.Header())
	out := &events{w: w, rc: rc, patience: t.Patience}
	wa := &watcher{tail: t, query: q, arrived: arrived, out: out, reader: t.Sink.Reader(q.at)}
	if back {
		wa.search = t.search(q)
	}
	defer wa.close()
	if err := wa.run(r.Context()); err != nil && r.Context().Err() == nil {
		if out.broken == nil {
			t.Log.Error("a watcher has ended: the log cannot be read where it was", "peer", r.RemoteAddr,
				"at", wa.at().String(), "err", err)
			out.failed(err)
			return
		}
		t.counts.timeouts.Add(1)
		t.Log.Info("a watcher was disconnected because it received too slowly; it may resume where it was",
			"peer", r.RemoteAddr, "at", wa.at().String(), "err", err)
	}
}

// search begins to look back into the log. The more do so at a time, the less memory each
// may have.
func (t *Tail) search(q query) *sink.Search {
	ahead := allAhead / max(1, t.lookbacks.now())
	return t.Sink.Search(q.at, sink.SearchOptions{Match: q.match, To: q.to, Gate: t.reading,
		Ahead: min(max(ahead, 1), 2*runtime.GOMAXPROCS(0)), Buffer: bufferSize(t.counts.watchers.Load())})
}

// refuseLookback refuses a request that looks back into the log.
func (t *Tail) refuseLookback(w http.ResponseWriter) {
	t.counts.refusedLookback.Add(1)
	later(w, fmt.Sprintf("too many requests look back into the log already, "+
		"%d in all or half of that from one address; "+
		"try again later, watch from the end, or raise collector.http.max_lookbacks", t.lookbacks.most()))
}

// later refuses a watcher for now.
func later(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "10")
	http.Error(w, why, http.StatusServiceUnavailable)
}

func (t *Tail) header(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Fanin-Log", t.Sink.Status().Log)
	h.Set("Fanin-Format", t.Sink.Format)
}

// waitTurn waits until this watcher may read and lay out lines: as many do at a time as there are processors. With
// a thousand that are ready to run, the goroutines that bring lines to the writer would each wait for all of them.
func (t *Tail) waitTurn(ctx context.Context) bool {
	select {
	case t.reading <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// buffer returns a buffer of this size; recycle takes it back.
func (t *Tail) buffer(size int) *[]byte {
	if b, ok := t.bufs.Get().(*[]byte); ok && cap(*b) >= size && cap(*b) <= 2*size {
		*b = (*b)[:size]
		return b
	}
	b := make([]byte, size)
	return &b
}

func (t *Tail) recycle(b *[]byte) { t.bufs.Put(b) }
