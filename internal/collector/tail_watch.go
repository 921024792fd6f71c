package collector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"syscall"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink/livetail"
)

// watch is one connection; ended reports that there will be no more lines.
func (t *tailer) watch(ctx context.Context) (ended bool, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", t.to.base+"/tail?"+t.query().Encode(), nil)
	if err != nil {
		return false, err
	}
	if t.last != "" {
		r.Header.Set("Last-Event-ID", t.last)
	}
	resp, err := t.to.client.Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return false, daemon.Exitf(daemon.ExitUnreachable, "%w at %s", errNotRunning, t.to.name)
	}
	if err != nil {
		return false, daemon.Exitf(daemon.ExitUnreachable, "%w", t.to.tls.ExplainClient(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		code := map[int]int{http.StatusBadRequest: daemon.ExitUsage,
			http.StatusServiceUnavailable: daemon.ExitLater}[resp.StatusCode]
		return false, daemon.Exitf(max(code, daemon.ExitFailure), "the collector answered: %s",
			escape.Lines(string(bytes.TrimSpace(text))))
	}
	if id := resp.Header.Get("Fanin-Log"); t.log != "" && id != t.log {
		return false, daemon.Exitf(daemon.ExitFailure, "the collector has another log now: %s instead of %s; "+
			"position %s has no meaning in it", escape.String(id), escape.String(t.log), escape.String(t.last))
	} else {
		t.log = id
	}
	t.out.format = resp.Header.Get("Fanin-Format")
	if t.output != "default" {
		t.out.format = "raw"
	}
	return t.events(livetail.NewEventReader(resp.Body))
}

// events prints what the collector sends, until the connection ends.
func (t *tailer) events(r *livetail.EventReader) (ended bool, err error) {
	for {
		e, err := r.Next()
		if err != nil {
			t.out.flush()
			return false, fmt.Errorf("the connection ended: %w", err)
		}
		if ended, err := t.event(e.Kind, e.Data); ended || err != nil {
			return ended, err
		}
		t.last = cmp.Or(e.ID, t.last)
		if !r.Buffered() {
			if err := t.out.flush(); err != nil {
				return true, err
			}
		}
	}
}

func (t *tailer) event(kind string, data []byte) (ended bool, err error) {
	switch {
	case kind == "end":
		return true, nil
	case kind == "failed":
		t.out.flush()
		return false, daemon.Exitf(daemon.ExitFailure, "the log cannot be read behind %s: %s; --from shows what "+
			"follows", cmp.Or(t.last, "the beginning"), escape.String(string(data)))
	case kind == "skipped":
		var s livetail.Skipped
		if err := json.Unmarshal(data, &s); err != nil {
			return false, fmt.Errorf("the collector sent %q: %w", data, err)
		}
		t.out.flush()
		if s.Exact {
			escape.Fprintf(t.stderr, "skipped %d lines: this command reads too slowly; --from %s shows those that "+
				"still exist\n", s.Lines, s.From)
		} else {
			escape.Fprintf(t.stderr, "skipped the lines from %s to %s: they no longer exist\n", s.From, s.To)
		}
	case data != nil:
		return false, t.out.line(data)
	}
	return false, nil
}
