package livetail

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

// show opens a log and serves its live tail.
func show(t *testing.T, s *sink.Sink, tail *Tail) (*sink.Sink, string) {
	t.Helper()
	s.Path, s.Host, s.Sync = filepath.Join(t.TempDir(), "all.log"), "here", "none"
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	tail.Sink = s
	srv := httptest.NewServer(tail)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		s.Close(context.Background())
	})
	return s, srv.URL
}

func put(t *testing.T, s *sink.Sink, host, source string, lines ...string) {
	t.Helper()
	err := s.Append(context.Background(), wire.Batch{Host: host, Source: source, Input: "tcp", Time: time.Now().UnixMicro(),
		Text: []byte(strings.Join(lines, "\n") + "\n")})
	if err != nil {
		t.Fatal(err)
	}
}

// visible waits until all that was acknowledged is in the file.
func visible(t *testing.T, s *sink.Sink) {
	t.Helper()
	waittest.Until(t, "all lines to be visible", func() bool {
		n, _, err := s.Count(context.Background(), sink.Position{Generation: 1}, s.End())
		return err == nil && n == s.Status().Lines
	})
}

func numbers(from, to int) (lines []string) {
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	return lines
}

// event is what a browser would make of one.
type event struct{ kind, id, data string }

// watch passes the events of one request to each until that returns false, or the request
// ends. opened is called when the watcher has its position.
func watch(t *testing.T, ctx context.Context, url, last string, each func(event) bool, opened ...func()) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	for _, f := range opened {
		f()
	}
	in := NewEventReader(resp.Body)
	last = ""
	for {
		e, err := in.Next()
		if err != nil {
			return resp
		}
		last = cmp.Or(e.ID, last)
		if (e.Data != nil || e.Kind != "") && !each(event{e.Kind, last, string(e.Data)}) {
			return resp
		}
	}
}

func body(line string) string {
	_, b, _ := strings.Cut(line, ": ")
	return b
}

// TestTailFollows: watchers that begin at the start, in the middle and at the end
// see every line once, in order, over rotations and compressed files, and one
// that is cut off again and again goes on by Last-Event-ID.
func TestTailFollows(t *testing.T) {
	s, url := show(t, &sink.Sink{Rotation: sink.RotationPolicy{Size: 256 << 10}}, new(Tail))
	const n = 40_000
	put(t, s, "web", "app", numbers(0, n/4)...)
	visible(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var all, ready sync.WaitGroup
	check := func(name, query string, first int, cut bool) {
		ready.Add(1)
		opened := sync.OnceFunc(ready.Done)
		all.Go(func() {
			next, last := first, ""
			for rounds := 0; next < n && ctx.Err() == nil; rounds++ {
				q := query
				if last != "" {
					q = "?lag=0"
				}
				begun := next
				watch(t, ctx, url+q, last, func(e event) bool {
					if want := fmt.Sprintf("line %d", next); e.kind != "" || body(e.data) != want {
						t.Errorf("%s: got %+v, want %s", name, e, want)
						cancel()
						return false
					}
					last, next = e.id, next+1
					return next < n && (!cut || next < begun+1000)
				}, opened)
			}
			if next < n {
				t.Errorf("%s: ended at line %d", name, next)
			}
		})
	}
	check("start", "?from=start&lag=0B", 0, false)
	check("cut off", "?from=start&lag=0", 0, true)
	check("last 100", "?n=100&lag=0", n/4-100, false)
	check("since", "?since=1h&lag=0", 0, false)
	ready.Wait() // for the watcher of the last 100: it counts from here
	for i := n / 4; i < n; i += 500 {
		put(t, s, "web", "app", numbers(i, i+500)...)
	}
	all.Wait()
	if len(s.Status().Generations) < 5 {
		t.Errorf("%d files", len(s.Status().Generations))
	}
}

// TestTailChooses: filters, formats and the end.
func TestTailChooses(t *testing.T) {
	s, at := show(t, &sink.Sink{}, new(Tail))
	for i := range 60 {
		put(t, s, fmt.Sprintf("web-%d", i%3), []string{"nginx", "app"}[i%2], fmt.Sprintf("line %d", i))
	}
	visible(t, s)
	get := func(q url.Values) (got []string, ended bool) {
		q.Set("follow", "0")
		watch(t, context.Background(), at+"?"+q.Encode(), "", func(e event) bool {
			if e.kind == "end" {
				ended = true
			} else {
				got = append(got, e.data)
			}
			return true
		})
		return got, ended
	}
	for name, c := range map[string]struct {
		query url.Values
		want  string
	}{
		"host":    {url.Values{"from": {"start"}, "host": {"web-1"}, "include": {"line [0-9]$"}, "format": {"body"}}, "line 1|line 4|line 7"},
		"source":  {url.Values{"from": {"start"}, "source": {"ng*"}, "include": {"line [0-9]$"}, "exclude": {"[28]$"}, "format": {"body"}}, "line 0|line 4|line 6"},
		"last":    {url.Values{"n": {"3"}, "format": {"body"}}, "line 57|line 58|line 59"},
		"last of": {url.Values{"n": {"2"}, "host": {"web-0"}, "format": {"body"}}, "line 54|line 57"},
		"nothing": {url.Values{"from": {"end"}}, ""},
	} {
		if got, ended := get(c.query); strings.Join(got, "|") != c.want || !ended {
			t.Errorf("%s: %q, ended %v; want %s", name, got, ended, c.want)
		}
	}
	got, _ := get(url.Values{"n": {"1"}, "format": {"json"}})
	var o struct{ Position, Time, Host, Source, Body string }
	if len(got) != 1 || json.Unmarshal([]byte(got[0]), &o) != nil || o.Host != "web-2" || o.Source != "app" || o.Body != "line 59" || !strings.HasPrefix(o.Position, "1:") || o.Time == "" {
		t.Errorf("json: %q", got)
	}
}

// TestTailRefuses: impossible requests are refused with the reason.
func TestTailRefuses(t *testing.T) {
	s, at := show(t, &sink.Sink{}, &Tail{MaxWatchers: 2})
	put(t, s, "web", "app", "line")
	visible(t, s)
	for _, c := range []struct {
		query, last, want string
		code              int
	}{
		{"from=77:0", "", "no such position", 410},
		{"", "1:999999", "no such position", 410},
		{"", "latest", "want generation:offset", 400},
		{"from=yesterday", "", "not a position in a log", 400},
		{"since=soon", "", "not a position in a log", 400},
		{"include=(", "", "RE2", 400},
		{"include=" + url.QueryEscape("((a{100}){100}){100}"), "", "RE2", 400},
		{"n=-1", "", "a number from 0", 400},
		{"n=99999999999", "", "a number from 0", 400},
		{"follow=maybe", "", "want 0 or 1", 400},
		{"format=xml", "", "want line, body or json", 400},
		{"hots=web", "", "unknown parameter", 400},
	} {
		r, _ := http.NewRequest("GET", at+"?"+c.query, nil)
		if c.last != "" {
			r.Header.Set("Last-Event-ID", c.last)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := new(strings.Builder)
		bufio.NewReader(resp.Body).WriteTo(text)
		resp.Body.Close()
		if resp.StatusCode != c.code || !strings.Contains(text.String(), c.want) {
			t.Errorf("%s %s: %d %q; want %d %q", c.query, c.last, resp.StatusCode, text, c.code, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan struct{}, 2)
	for range 2 {
		go watch(t, ctx, at+"?from=start", "", func(event) bool { started <- struct{}{}; return true }) // ends with ctx
		<-started
	}
	resp, err := http.Get(at + "?from=start")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the third of two watchers: %d", resp.StatusCode)
	}
}

// TestTailSkips: a watcher that falls too far behind is told exactly what it was
// not shown, and gets it when it asks.
func TestTailSkips(t *testing.T) {
	tail := &Tail{MaxLag: 100_000}
	s, at := show(t, &sink.Sink{Retention: sink.RetentionPolicy{Compress: "none"}}, tail)
	put(t, s, "web", "app", "line 0")
	began, release := make(chan struct{}), make(chan struct{})
	var seen, lost atomic.Int64
	var first string
	done := make(chan struct{})
	go func() { // ends with the last line
		defer close(done)
		watch(t, context.Background(), at+"?from=start", "", func(e event) bool {
			if e.kind == "skipped" {
				var k Skipped
				json.Unmarshal([]byte(e.data), &k)
				from, _ := sink.ParsePosition(k.From)
				to, err := sink.ParsePosition(k.To)
				n, _, cerr := s.Count(context.Background(), from, to)
				if !k.Exact || k.From == "" || k.To != e.id || err != nil || cerr != nil || n != k.Lines {
					t.Errorf("skipped %+v; there are %d lines, %v %v", k, n, err, cerr)
				}
				lost.Add(int64(k.Lines))
				first = k.From
				return true
			}
			if seen.Add(1) == 1 {
				close(began)
				<-release // its socket fills up
			}
			return body(e.data) != "the end"
		})
	}()
	<-began
	waittest.Until(t, "the watcher to reach the end", func() bool { return tail.lookbacks.now() == 0 })
	const n = 200_000
	for i := 1; i < n; i += 1000 {
		put(t, s, "web", "app", numbers(i, i+1000)...)
	}
	close(release)
	total := func() int64 { return int64(s.Status().Lines) }
	waittest.UntilEqual(t, "the watcher to have all lines, or be told of them", total(),
		func() int64 { return seen.Load() + lost.Load() })
	put(t, s, "web", "app", "the end")
	<-done
	if lost.Load() == 0 {
		t.Error("the watcher was never too slow")
	}
	if seen.Load()+lost.Load() != total() {
		t.Errorf("saw %d, was told of %d; the log has %d", seen.Load(), lost.Load(), total())
	}
	shown := ""
	watch(t, context.Background(), at+"?from="+first, "", func(e event) bool { shown = e.data; return false })
	if !strings.HasPrefix(body(shown), "line ") {
		t.Errorf("at %s: %q", first, shown)
	}
}

// TestTailGone: a watcher is told which lines retention removed, and continues.
func TestTailGone(t *testing.T) {
	s, at := show(t, &sink.Sink{Retention: sink.RetentionPolicy{Compress: "none", Files: 1}}, new(Tail))
	put(t, s, "web", "app", "line 0")
	visible(t, s)
	position := s.End().String()
	for i := 1; i < 6; i++ {
		put(t, s, "web", "app", fmt.Sprintf("line %d", i))
		s.Rotate(context.Background())
	}
	waittest.Until(t, "retention", func() bool { return len(s.Status().Generations) <= 2 })
	var got []event
	watch(t, context.Background(), at+"?follow=0", position, func(e event) bool { got = append(got, e); return true })
	if len(got) != 3 || got[0].kind != "skipped" || !strings.Contains(got[0].data, `"exact":false`) || body(got[1].data) != "line 5" || got[2].kind != "end" {
		t.Errorf("got %+v", got)
	}
}

// TestManyWatchers: a thousand of them stay within bounds.
func TestManyWatchers(t *testing.T) {
	s, at := show(t, &sink.Sink{}, new(Tail))
	put(t, s, "web", "app", "line 0")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	transport := &http.Transport{MaxIdleConnsPerHost: 1, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10}
	const n = 1000
	var seen sync.WaitGroup
	for range n {
		seen.Add(1)
		r, _ := http.NewRequestWithContext(ctx, "GET", at+"?from=start", nil)
		go func() { // ends with ctx
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				seen.Done()
				return
			}
			defer resp.Body.Close()
			in := bufio.NewReaderSize(resp.Body, 512)
			for {
				line, err := in.ReadString('\n')
				if strings.HasSuffix(line, "the last\n") {
					seen.Done()
				}
				if err != nil {
					return
				}
			}
		}()
	}
	for i := range 20 {
		put(t, s, "web", "app", numbers(i*100, i*100+100)...)
		visible(t, s)
	}
	put(t, s, "web", "app", "the last")
	seen.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	// Both ends of a thousand connections are in this process.
	if grown := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse); grown > 96<<20 {
		t.Errorf("%d watchers take %d MiB", n, grown>>20)
	}
}

// TestTailLookbacks: MaxLookbacks watchers look back at a time, half of them from one address.
// Others wait until one has reached the end; from then on it does not count.
func TestTailLookbacks(t *testing.T) {
	tail := &Tail{MaxLookbacks: 3}
	s, url := show(t, new(sink.Sink), tail)
	put(t, s, "web", "app", numbers(0, 10)...)
	visible(t, s)
	for range 5 { // two at a time, and each comes to the end
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		got := make(chan struct{})
		go watch(t, ctx, url+"?from=start", "", func(e event) bool { // ends with ctx
			if body(e.data) == "line 9" {
				close(got)
			}
			return true
		})
		<-got
	}
	release := make([]func(), 0, 3)
	for _, peer := range []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"} {
		r := httptest.NewRequest("GET", "/tail?n=5", nil)
		r.RemoteAddr = peer
		done, ok := tail.lookBack(r)
		if !ok {
			t.Fatalf("%s may not look back", peer)
		}
		release = append(release, done)
	}
	waiting := make(chan struct{})
	go func() { // ends when there is room
		defer close(waiting)
		watch(t, context.Background(), url+"?since=1h&follow=0", "", func(event) bool { return true })
	}()
	fresh := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go watch(t, ctx, url, "", func(e event) bool { close(fresh); return false }) // who begins at the end is not kept waiting
	waittest.Until(t, "all watchers", func() bool { return tail.counts.watchers.Load() == 7 })
	put(t, s, "web", "app", "news")
	<-fresh
	select {
	case <-waiting:
		t.Error("a fourth looks back")
	default:
	}
	release[0]()
	release[0]() // counts once
	<-waiting
	if tail.lookbacks.now() != 2 {
		t.Errorf("%d look back, want 2", tail.lookbacks.now())
	}
}

// TestTailLookbacksRefused: a watcher that waits too long is refused for now, also when its
// own address has reached the bound.
func TestTailLookbacksRefused(t *testing.T) {
	tail := &Tail{MaxLookbacks: 4, Patience: 10 * time.Millisecond}
	_, url := show(t, new(sink.Sink), tail)
	tail.setUp()
	for range 2 {
		r := httptest.NewRequest("GET", "/tail?from=start", nil)
		r.RemoteAddr = "127.0.0.1:1"
		if _, ok := tail.lookBack(r); !ok {
			t.Fatal("may not look back")
		}
	}
	for _, query := range []string{"?from=start", "?n=3", "?since=1h", "?from=1:0"} {
		resp := watch(t, context.Background(), url+query, "", func(event) bool { return false })
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", query, resp.Status)
		}
	}
	if resp := watch(t, context.Background(), url, "1:0", func(event) bool { return false }); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("going on: %s", resp.Status)
	}
	if n := tail.counts.refusedLookback.Load(); n != 5 {
		t.Errorf("%d counted", n)
	}
}

// TestTurn: a watcher that sends, and waits for its peer, keeps no other one from reading.
func TestTurn(t *testing.T) {
	pr, pw := io.Pipe()
	turns := make(chan struct{}, 1)
	turns <- struct{}{}
	e := &events{w: pw, rc: http.NewResponseController(httptest.NewRecorder()), turn: turns}
	done := make(chan error, 1)
	go func() { done <- e.line(sink.Position{}, []byte("a line")) }() // ends at once: it is kept
	if err := <-done; err != nil || len(turns) != 1 {
		t.Errorf("laying out a line ends the turn: %v", err)
	}
	go func() { done <- e.flush(sink.Position{}) }() // ends when it is read
	turns <- struct{}{}                              // another one's
	<-turns
	io.CopyN(io.Discard, pr, int64(len("id: 0:0\ndata: a line\n\n")))
	if err := <-done; err != nil {
		t.Error(err)
	}
	e.endTurn()
}
