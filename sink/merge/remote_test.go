package merge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/sink"
)

// serve serves a log over HTTP.
func serve(t *testing.T, x *Server, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(wrap(x))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL
}

func plainly(h http.Handler) http.Handler { return h }

// TestRemote: logs are read over HTTP as they are on the disk, from any place, and followed.
func TestRemote(t *testing.T) {
	begun := time.Now().Add(-time.Hour).Truncate(time.Second)
	var urls []string
	var logs []*sink.Sink
	for i := range 2 {
		logs = append(logs, openLog(t, fmt.Sprint("part-", i)))
		urls = append(urls, serve(t, &Server{Sink: logs[i]}, plainly))
	}
	var want []string
	line := func(i int) {
		want = append(want, fmt.Sprint("line ", i))
		put(t, logs[i%2], begun.Add(time.Duration(i)*time.Second), want[i])
	}
	for i := range 40 {
		if line(i); i%9 == 8 {
			if _, err := logs[i%2].Rotate(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	merged := func(since time.Time, o Options) *Merge {
		var list []Log
		var at Places
		for i, url := range urls {
			r := &Remote{Client: http.DefaultClient, URL: url, Follow: o.Follow}
			if err := r.Begin(context.Background()); err != nil || r.Format() != "syslog" {
				t.Fatal(err, r.Format())
			}
			place := Place{Partition: i}
			if !since.IsZero() {
				var err error
				if place, err = Since(context.Background(), i, []Tenure{{Log: r}}, since); err != nil {
					t.Fatal(err)
				}
			}
			list, at = append(list, partition(t, place, []Tenure{{Log: r}})), append(at, place)
		}
		m := New(list, at, o)
		t.Cleanup(m.Close)
		return m
	}
	if got := bodies(t, merged(time.Time{}, Options{})); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := bodies(t, merged(begun.Add(17*time.Second), Options{})); !slices.Equal(got[len(got)-23:], want[17:]) || len(got) > 30 {
		t.Errorf("since line 17: %q", got)
	}
	m := merged(time.Time{}, Options{Follow: true, Window: time.Millisecond})
	var got strings.Builder
	for i := 40; strings.Count(got.String(), "\n") < 44; {
		if strings.Count(got.String(), "\n") >= i && i < 44 {
			line(i)
			i++
		}
		p, err := m.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got.Write(p.Text)
	}
	if !strings.HasSuffix(got.String(), " line 43\n") {
		t.Errorf("followed: %q", got.String())
	}
}

// TestRemoteTroubles: a collector that has too much to do is asked again; one that has another log is not read on; what
// retention removed is said, and what was never there.
func TestRemoteTroubles(t *testing.T) {
	s, other := openLog(t, "one"), openLog(t, "other")
	s.Use(t.Context(), sink.Policies{Retention: sink.RetentionPolicy{Files: 1, Compress: "none"}})
	put(t, s, time.Now(), "a")
	var busy, moved atomic.Bool
	one, two := &Server{Sink: s}, &Server{Sink: other}
	url := serve(t, one, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case busy.Swap(false):
				http.Error(w, "later", http.StatusServiceUnavailable)
			case moved.Load():
				two.ServeHTTP(w, r)
			default:
				h.ServeHTTP(w, r)
			}
		})
	})
	r := &Remote{Client: http.DefaultClient, URL: url}
	if err := r.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1000)
	busy.Store(true)
	if text, at, err := r.Open(sink.Position{}).Read(t.Context(), buf); err != nil || !strings.HasSuffix(string(text), " app: a\n") || at != (sink.Position{Generation: 1}) {
		t.Errorf("a busy collector: %q at %s, %v", text, at, err)
	}
	for range 4 {
		put(t, s, time.Now(), "b")
		s.Rotate(t.Context())
	}
	waittest.Until(t, "retention", func() bool { return len(s.Status().Generations) == 2 })
	first := r.Open(sink.Position{Generation: 1})
	var gone *sink.GoneError
	if _, _, err := first.Read(t.Context(), buf); !errors.As(err, &gone) || gone.From.Generation != 1 || gone.To != first.At() {
		t.Errorf("what is gone: %v; it goes on at %s", err, first.At())
	}
	if text, _, err := first.Read(t.Context(), buf); err != nil || !strings.HasSuffix(string(text), " app: b\n") {
		t.Errorf("behind that: %q, %v", text, err)
	}
	if _, _, err := r.Open(sink.Position{Generation: 77}).Read(t.Context(), buf); err == nil || !strings.Contains(err.Error(), "no such position") {
		t.Errorf("a place that never was: %v", err)
	}
	moved.Store(true)
	if _, _, err := r.Open(sink.Position{}).Read(t.Context(), buf); !errors.Is(err, ErrAnotherLog) {
		t.Errorf("another log: %v", err)
	}
}

// TestServerRefuses wrong parameters, and more reads than there may be.
func TestServerRefuses(t *testing.T) {
	x := &Server{Sink: openLog(t, "one"), MaxReads: 1}
	get := func(query string) int {
		w := httptest.NewRecorder()
		x.ServeHTTP(w, httptest.NewRequest("GET", "/read?"+query, nil))
		return w.Code
	}
	for query, want := range map[string]int{"": 200, "from=end": 200, "from=yesterday": 400, "most=many": 400, "wait=long": 400, "from=9:0": 410, "most=0": 200, "most=1TiB": 200} {
		if got := get(query); got != want {
			t.Errorf("%q: %d, want %d", query, got, want)
		}
	}
	x.reading <- struct{}{}
	if got := get(""); got != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", got)
	}
}
