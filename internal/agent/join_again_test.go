package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"fanin/internal/pki"
)

// TestJoinAfterRenewal: join can be run again with the same token at any time, as at each start of a
// container, also when the certificate was renewed since. It asks for nothing.
// When the certificate has expired, it says so.
func TestJoinAfterRenewal(t *testing.T) {
	a, j := newAuthority(t), newJob(t.TempDir())
	token := a.invite(t, "web-1")
	if err := j.run(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	r, err := newRenewer(wantJoined(t, j, "web-1"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		a.ahead.Add(int64(2 * time.Minute))
		if err := r.step(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		asked := a.asked.Load()
		if err := j.run(t.Context(), token); err != nil || a.asked.Load() != asked {
			t.Errorf("after a renewal: %v, %d requests more", err, a.asked.Load()-asked)
		}
	}
	j.now = func() time.Time { return time.Now().Add(2 * pki.HostValid) }
	if err := j.run(t.Context(), token); err == nil || !strings.Contains(err.Error(), "the certificate expired on") {
		t.Errorf("when it has expired: %v", err)
	}
}
