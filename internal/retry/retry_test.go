package retry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffDoubles(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: 500 * time.Millisecond}
	for i, want := range []time.Duration{100, 200, 400, 500, 500} {
		if got := b.Next(); got != want*time.Millisecond {
			t.Errorf("pause %d is %v, want %vms", i, got, int64(want))
		}
	}
	b.Reset()
	if got := b.Next(); got != b.Min {
		t.Errorf("after Reset the pause is %v, want %v", got, b.Min)
	}
	b.AtLeast(time.Minute)
	if got := b.Next(); got != time.Minute {
		t.Errorf("the pause is %v, want the minute that was asked for", got)
	}
	if got := b.Next(); got != b.Max {
		t.Errorf("after the minute the pause is %v, want %v", got, b.Max)
	}
}

func TestBackoffJitter(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 100 {
		b := Backoff{Min: time.Second, Max: time.Second, Jitter: true}
		d := b.Next()
		if d < time.Second/2 || d > 3*time.Second/2 {
			t.Fatalf("the pause is %v, want half a second to one and a half", d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 pauses have %d different lengths", len(seen))
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		begun := time.Now()
		if err := Pause(ctx, time.Second); err != nil || time.Since(begun) != time.Second {
			t.Errorf("pause of a second: %v after %v", err, time.Since(begun))
		}
		if err := Pause(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("pause beyond the deadline: %v after %v", err, time.Since(begun))
		}
		b := Backoff{Min: time.Second, Max: time.Second}
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("wait after the deadline: %v after %v", err, time.Since(begun))
		}
	})
}

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewLog(slog.New(slog.NewTextHandler(&out, nil)))
		for range 5 {
			l.Warn("full", "connection refused", "peer", "p")
			l.Error("torn", "frame refused")
		}
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Fatalf("%d messages, want one for each reason:\n%s", n, out.String())
		}
		out.Reset()
		time.Sleep(LogEvery)
		l.Warn("full", "connection refused", "peer", "p")
		l.Error("torn", "frame refused")
		if n := strings.Count(out.String(), "like_this_not_shown=4"); n != 2 {
			t.Errorf("messages do not tell that 4 were left out:\n%s", out.String())
		}
		out.Reset()
		time.Sleep(LogEvery)
		l.Warn("full", "connection refused")
		if strings.Contains(out.String(), "not_shown") || !strings.Contains(out.String(), "level=WARN") {
			t.Errorf("a warning with nothing left out: %s", out.String())
		}
	})
}
