package collector

import (
	"context"
	"net"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/daemon"
)

// TestAnswerInTime: an answer that does not come in time says what was waited for.
func TestAnswerInTime(t *testing.T) {
	h := overHTTP(within(10*time.Millisecond, "rotate", func() string { return "the writer of the log; the log accepts no lines now: the disk is full" }, func(ctx context.Context, _ url.Values) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	w := httptest.NewRecorder()
	h(w, httptest.NewRequest("POST", "/rotate", nil))
	if got := w.Body.String(); w.Code != 503 || !strings.Contains(got, "/rotate was not done within 10ms; it waits for the writer of the log; the log accepts no lines now: the disk is full") {
		t.Errorf("%d %q", w.Code, got)
	}
}

// TestAskHangs: a collector that accepts and does not answer is not waited for for ever.
func TestAskHangs(t *testing.T) {
	state := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(state, controlName)) // accepts, and that is all
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = ask(ctx, state, "POST", "/rotate", nil)
	if err == nil || daemon.Code(err) != daemon.ExitLater || !strings.Contains(err.Error(), "did not answer /rotate on "+ln.Addr().String()) {
		t.Errorf("%v", err)
	}
}
