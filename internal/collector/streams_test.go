package collector

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"

	"fanin/ingest"
	"fanin/internal/wire"
	"fanin/sink"
)

// The routes of streams list, forget and give away exactly what was asked for.
func TestStreamRoutes(t *testing.T) {
	s := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Log: slog.New(slog.DiscardHandler)}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	c := &server{sink: s, sessions: new(ingest.Sessions)}
	list := func(query string) (list []sink.StreamStatus) {
		t.Helper()
		w := httptest.NewRecorder()
		c.listStreams(w, httptest.NewRequest("GET", "/streams?"+query, nil))
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list == nil {
			t.Fatalf("?%s: %q, %v", query, w.Body, err)
		}
		return list
	}
	if n := len(list("")); n != 0 {
		t.Errorf("%d streams of none", n)
	}
	for i := range 4 {
		b := wire.Batch{Op: wire.OpOpen, Stream: wire.StreamID{byte(i + 1)}, Epoch: 1, Agent: fmt.Sprint("agent-", i%2), Host: "h", Source: "app", Input: "agent"}
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	first := list("")[0].Stream
	for query, want := range map[string]int{"": 4, "agent=agent-1": 2, "agent=agent-7": 0, "id=" + first: 1, "id=" + first + "&agent=agent-1": 0, "older=1h": 0, "older=0s": 4} {
		if got := list(query); len(got) != want {
			t.Errorf("?%s lists %d streams, want %d", query, len(got), want)
		}
	}
	change := func(f func(q url.Values) (any, error), query string, want int) {
		t.Helper()
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		switch got, err := f(q); {
		case want < 0 && err == nil:
			t.Errorf("?%s: %v, want an error", query, got)
		case want >= 0 && (err != nil || got != changedStreams{want}):
			t.Errorf("?%s: %v, %v; want %d streams", query, got, err, want)
		}
	}
	forget := func(q url.Values) (any, error) { return c.forgetStreams(t.Context(), q) }
	give := func(q url.Values) (any, error) { return c.giveStreams(t.Context(), q) }
	for _, query := range []string{"", "id=xyz", "older=never", "agent="} {
		change(forget, query, -1)
	}
	change(forget, "older=1h", 0)
	for _, query := range []string{"", "from=agent-1", "to=agent-1", "from=agent-1&to=agent-1", "from=agent-1&to=a b"} {
		change(give, query, -1)
	}
	change(give, "from=agent-1&to=agent-2", 2)
	change(forget, "agent=agent-1", 0)
	change(forget, "id="+first+"&agent=agent-2", 0)
	change(forget, "agent=agent-2", 2)
	change(forget, "id="+first, 1)
	if got := list(""); len(got) != 1 || got[0].Agent != "agent-0" || got[0].Stream == first {
		t.Errorf("left are %+v", got)
	}
}
