package collector

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fanin/internal/daemon"
)

// stream serves parts of a live tail, one for each connection, and then no more.
func streamOf(t *testing.T, parts ...string) (url string, asked *[]*http.Request) {
	t.Helper()
	asked = new([]*http.Request)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r)
		w.Header().Set("Fanin-Log", "log-1")
		w.Header().Set("Fanin-Format", "syslog")
		if n := len(*asked); n <= len(parts) {
			io.WriteString(w, parts[n-1])
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func tailed(t *testing.T, url string, set func(*tailer)) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	x := &tailer{tailOptions: tailOptions{collectorURL: collectorURL{connect: url}, output: "default", color: "never", lag: -1, n: 10}, stderr: &errs}
	if set != nil {
		set(x)
	}
	err = x.run(context.Background(), &out)
	return out.String(), errs.String(), err
}

func event(id, line string) string { return fmt.Sprintf("id: %s\ndata: %s\n\n", id, line) }

const endOfTail = "event: end\ndata:\n\n"

// A tail whose connection breaks continues after the last line that it printed.
func TestTailContinues(t *testing.T) {
	url, asked := streamOf(t, event("1:10", "one")+"id: 1:15\ndata: tw", event("1:15", "two")+endOfTail)
	stdout, stderr, err := tailed(t, url, nil)
	if stdout != "one\ntwo\n" || err != nil {
		t.Errorf("it printed %q, %v", stdout, err)
	}
	if !strings.Contains(stderr, "connecting again, to continue after 1:10") {
		t.Errorf("it reported %q", stderr)
	}
	if len(*asked) != 2 || (*asked)[0].Header.Get("Last-Event-ID") != "" || (*asked)[1].Header.Get("Last-Event-ID") != "1:10" {
		t.Errorf("it asked %d times, from %q", len(*asked), (*asked)[len(*asked)-1].Header.Get("Last-Event-ID"))
	}
}

// What the collector skips is reported; names in it do not reach the terminal as they are.
func TestTailSkipped(t *testing.T) {
	url, _ := streamOf(t, "event: skipped\ndata: {\"lines\":7,\"from\":\"1:5\\u001b[2J\",\"exact\":true}\n\n"+endOfTail)
	if _, stderr, err := tailed(t, url, nil); err != nil || !strings.Contains(stderr, "skipped 7 lines") || strings.Contains(stderr, "\x1b") {
		t.Errorf("it reported %q, %v", stderr, err)
	}
}

func TestTailQuery(t *testing.T) {
	url, asked := streamOf(t, endOfTail)
	_, _, err := tailed(t, url, func(x *tailer) {
		x.since, x.host, x.exclude, x.noFollow, x.lag, x.output = "2d", []string{"web*", "db"}, []string{"debug"}, true, 1<<20, "raw"
	})
	if got := (*asked)[0].URL.Query().Encode(); err != nil || got != "exclude=debug&follow=0&format=body&host=web%2A&host=db&lag=1048576&since=2d" {
		t.Errorf("it asked for %s, %v", got, err)
	}
}

func TestTailRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no place \x1b[2J in the log", http.StatusBadRequest)
	}))
	url := s.URL
	if _, _, err := tailed(t, url, nil); daemon.Code(err) != daemon.ExitUsage || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("a bad request: %d, %v", daemon.Code(err), err)
	}
	s.Close()
	if _, _, err := tailed(t, url, nil); daemon.Code(err) != daemon.ExitUnreachable {
		t.Errorf("without a collector: %d, %v", daemon.Code(err), err)
	}
	for _, bad := range []func(*tailer){
		func(x *tailer) { x.connect = "collector:6790" }, func(x *tailer) { x.connect = "ftp://collector" },
		func(x *tailer) { x.output = "xml" }, func(x *tailer) { x.color = "red" }, func(x *tailer) { x.highlight = "(" },
	} {
		if _, _, err := tailed(t, url, bad); daemon.Code(err) != daemon.ExitUsage {
			t.Errorf("a wrong flag: %d, %v", daemon.Code(err), err)
		}
	}
}
