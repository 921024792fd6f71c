package livetail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/sink"
)

// history opens a log with lines 0 to n-1 in several files, and serves downloads.
func history(t *testing.T, n int, s *sink.Sink) (*Tail, string) {
	t.Helper()
	tail := new(Tail)
	s.Rotation.Size = 64 << 10
	show(t, s, tail)
	for i := 0; i < n; i += 500 {
		put(t, s, fmt.Sprint("web-", i/500%2), "app", numbers(i, min(n, i+500))...)
	}
	if err := s.Checkpoint(context.Background()); err != nil { // the text follows the acknowledgement
		t.Fatal(err)
	}
	srv := httptest.NewServer(Download{tail})
	t.Cleanup(srv.Close)
	return tail, srv.URL
}

// TestContext: the lines around each line are those before and behind it, over the files' ends,
// wherever in the line the position is.
func TestContext(t *testing.T) {
	const n = 5000
	s := new(sink.Sink)
	tail, _ := history(t, n, s)
	var at []string
	first, err := tail.Context(t.Context(), url.Values{"at": {"1:0"}, "after": {"1000"}, "before": {"0"}})
	for ; err == nil; first, err = tail.Context(t.Context(), url.Values{"at": {first.Lines[len(first.Lines)-1].Next},
		"after": {"1000"}, "before": {"0"}}) {
		for _, l := range first.Lines {
			at = append(at, l.At)
		}
		if !first.MoreAfter {
			break
		}
	}
	if err != nil || len(at) < n {
		t.Fatalf("%d lines, %v", len(at), err)
	}
	for _, i := range []int{0, 1, 5, 499, 500, 2777, n - 2, n - 1} {
		p, err := sink.ParsePosition(at[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, within := range []int64{0, 1, 20} {
			p := sink.Position{Generation: p.Generation, Offset: p.Offset + within}
			c, err := tail.Context(t.Context(), url.Values{"at": {p.String()}, "before": {"7"}, "after": {"3"}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range c.Lines {
				got = append(got, l.Body)
			}
			want := numbers(max(0, i-7), min(n, i+4))
			if strings.Join(got, ",") != strings.Join(want, ",") || c.MoreBefore != (i > 7) || c.MoreAfter != (i+4 < n) {
				t.Errorf("around line %d, %d bytes in: %q, more %v %v", i, within, got, c.MoreBefore, c.MoreAfter)
			}
		}
	}
}

// TestHistoryRefuses: requests that are wrong, and places that are gone, are told apart.
func TestHistoryRefuses(t *testing.T) {
	s := &sink.Sink{Retention: sink.RetentionPolicy{Files: 1}}
	tail, download := history(t, 5000, s)
	waittest.Until(t, "retention to remove all but the last rotated file", func() bool { // a download that meets it is cut off
		return len(s.Status().Generations) <= 2
	})
	var gone *sink.GoneError
	if _, err := tail.Context(t.Context(), url.Values{"at": {"1:0"}}); !errors.As(err, &gone) {
		t.Errorf("a position that retention removed: %v", err)
	}
	if _, err := tail.Context(t.Context(), url.Values{"at": {"999:0"}}); !errors.Is(err, sink.ErrNoPosition) {
		t.Errorf("a position that never was: %v", err)
	}
	for _, q := range []string{"at=x", "at=", "before=1001&at=1:0", "after=-1&at=1:0", "at=1:0&x=1"} {
		v, _ := url.ParseQuery(q)
		if _, err := tail.Context(t.Context(), v); !errors.Is(err, ErrQuery) {
			t.Errorf("context?%s: %v", q, err)
		}
	}
	for _, q := range []string{"step=30", "step=x", "top=101", "x=1", "host=" + strings.Repeat("x", 2000), "step=90"} {
		v, _ := url.ParseQuery(q)
		if _, err := tail.Histogram(t.Context(), v); !errors.Is(err, ErrQuery) {
			t.Errorf("histogram?%s: %v", q, err)
		}
	}
	for _, q := range []string{"from=x", "to=never"} {
		v, _ := url.ParseQuery(q)
		if _, err := tail.Histogram(t.Context(), v); !errors.Is(err, sink.ErrNotInLog) {
			t.Errorf("histogram?%s: %v", q, err)
		}
	}
	for q, want := range map[string]int{"": 200, "from=1:0": 410, "from=999:0": 410, "from=x": 400, "include=(": 400, "follow=0": 400,
		"format=x": 400, "to=x": 400} {
		if resp, _ := get(t, download+"?"+q); resp.StatusCode != want {
			t.Errorf("download?%s: %d, want %d", q, resp.StatusCode, want)
		}
	}
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// TestDownload: a download has exactly the lines that were selected, in the format that was asked for.
func TestDownload(t *testing.T) {
	const n = 5000
	s := new(sink.Sink)
	tail, u := history(t, n, s)
	resp, text := get(t, u+"?format=body")
	if text != strings.Join(numbers(0, n), "\n")+"\n" || resp.Header.Get("Content-Disposition") != `attachment; filename="fanin.txt"` {
		t.Errorf("%d bytes, %v", len(text), resp.Header)
	}
	_, text = get(t, u+"?format=json&include=line+4711$")
	var l struct{ Position, Host, Body string }
	if err := json.Unmarshal([]byte(text), &l); err != nil || l.Host != "web-1" || l.Body != "line 4711" {
		t.Fatalf("%q, %v", text, err)
	}
	c, err := tail.Context(t.Context(), url.Values{"at": {l.Position}, "before": {"11"}, "after": {"0"}})
	if err != nil {
		t.Fatal(err)
	}
	_, text = get(t, u+"?format=body&from="+c.Lines[0].At+"&to="+c.Lines[11].At)
	if want := strings.Join(numbers(4700, 4711), "\n") + "\n"; text != want {
		t.Errorf("a range has %q, want %q", text, want)
	}
	_, text = get(t, u+"?host=web-0&source=app&from=start&exclude=[1-9]$")
	if got := strings.Count(text, "\n"); got != n/20 {
		t.Errorf("a selection has %d lines", got)
	}
}

// TestTailTo: a watcher ends at the place that it names, in old files and in the live one.
func TestTailTo(t *testing.T) {
	s, u := show(t, &sink.Sink{Rotation: sink.RotationPolicy{Size: 64 << 10}}, new(Tail))
	put(t, s, "web", "app", numbers(0, 3000)...)
	visible(t, s)
	var ids []string
	watch(t, t.Context(), u+"?from=start&follow=0", "", func(e event) bool {
		ids = append(ids, e.id)
		return e.kind != "end"
	})
	for _, i := range []int{1, 700, 2999} {
		n, ended := 0, false
		watch(t, t.Context(), u+"?from=start&to="+ids[i-1], "", func(e event) bool {
			ended = e.kind == "end"
			if !ended {
				n++
			}
			return !ended
		})
		if n != i || !ended {
			t.Errorf("to the end of line %d: %d lines, ended %v", i, n, ended)
		}
	}
	var last []string
	watch(t, t.Context(), u+"?n=3&to="+ids[99], "", func(e event) bool {
		if e.kind == "" {
			last = append(last, body(e.data))
		}
		return e.kind != "end"
	})
	if strings.Join(last, ",") != "line 97,line 98,line 99" {
		t.Errorf("the last 3 before a place are %q", last)
	}
}

// TestThousandRequests: of a thousand histograms and contexts at once all are answered, a few at a time.
func TestThousandRequests(t *testing.T) {
	s := new(sink.Sink)
	tail, _ := history(t, 5000, s)
	waittest.Until(t, "the histogram to be complete", func() bool {
		h, err := tail.Histogram(t.Context(), url.Values{})
		return err == nil && h.Complete
	})
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if i%2 == 0 {
				h, err := tail.Histogram(t.Context(), url.Values{"step": {"60"}})
				if err != nil || !h.Complete {
					t.Errorf("histogram: %v", err)
				}
				return
			}
			if c, err := tail.Context(t.Context(), url.Values{"at": {"1:100"}}); err != nil || len(c.Lines) < 21 {
				t.Errorf("context: %v", err)
			}
		})
	}
	all.Wait()
}

// TestHistoryWaits: a histogram for which there is no place in time is refused, and counted.
func TestHistoryWaits(t *testing.T) {
	tail := new(Tail)
	show(t, new(sink.Sink), tail)
	tail.setUp()
	for range maxAnswers {
		tail.answers <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := tail.Histogram(ctx, url.Values{}); !errors.Is(err, context.DeadlineExceeded) || tail.counts.refusedAnswers.Load() != 1 {
		t.Errorf("%v, %d refused", err, tail.counts.refusedAnswers.Load())
	}
}
