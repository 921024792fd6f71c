package livetail

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/sink"
	"fanin/sink/archive"
)

// damaged opens a log with a compressed file that has changed in its middle.
func damaged(t *testing.T) *sink.Sink {
	t.Helper()
	path := filepath.Join(t.TempDir(), "all.log")
	name := strings.TrimSuffix(path, ".log") + "-2026-11-22T17-00-00.000.log"
	if err := os.WriteFile(name, bytes.Repeat([]byte("2026-11-22T17:00:00.123456Z web app: a line\n"), 200_000), 0o640); err != nil {
		t.Fatal(err)
	}
	packed, err := archive.Compress(context.Background(), nil, name, 0o640, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(packed, b, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	s := &sink.Sink{Path: path, Host: "here"}
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// TestTailUnreadable: a watcher of a log that cannot be read at a place learns why: else it would come
// again and again.
func TestTailUnreadable(t *testing.T) {
	srv := httptest.NewServer(&Tail{Sink: damaged(t)})
	defer srv.Close()
	lines, last := 0, event{}
	watch(t, t.Context(), srv.URL+"?from=start&follow=0", "", func(e event) bool {
		if last = e; e.kind == "" {
			lines++
		}
		return true
	})
	if last.kind != "failed" || !strings.Contains(last.data, "damaged near byte") || lines < 50_000 {
		t.Errorf("after %d lines: %+v", lines, last)
	}
}

// TestDownloadCutOff: a download of a log that cannot be read to its end does not end as if it were whole.
func TestDownloadCutOff(t *testing.T) {
	tail := &Tail{Sink: damaged(t)}
	srv := httptest.NewServer(Download{tail})
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil || bytes.Count(text, []byte{'\n'}) < 50_000 || tail.counts.cutOff.Load() != 1 {
		t.Errorf("%d bytes, %v, %d cut off", len(text), err, tail.counts.cutOff.Load())
	}
}
