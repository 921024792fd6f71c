package line

import (
	"testing"
	"time"
)

// TestTimeReader reads the times that the layouts write, and none where there is none.
func TestTimeReader(t *testing.T) {
	for _, format := range []string{"syslog", "json", "raw"} {
		r := NewTimeReader(format)
		l, err := NewLayout(format)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{time.Unix(0, 0), time.Now(), time.Date(2026, 2, 28, 23, 59, 59, 999_999_000, time.UTC),
			time.Date(2026, 3, 1, 0, 0, 0, 1000, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
			l.Begin(at.UnixMicro(), "web", "app", nil)
			text, _ := l.Append(nil, []byte("a line\n"))
			micros, ok := r.Micros(text)
			if ok != (format != "raw") || ok && micros != at.UnixMicro() {
				t.Errorf("%s: %q was read at %d, %v; want %d", format, text, micros, ok, at.UnixMicro())
			}
		}
		for _, text := range []string{"", "\n", "2026-11-22T17:00:00.12345", "2026-13-22T17:00:00.123456Z web app: x", "2026-11-22T17:0x:00.123456Z web app: x",
			`{"ObservedTimestamp":"2026-11-22T17:00:00.12345`, "2026-11-22 17:00:00.123456Z web app: x"} {
			if micros, ok := r.Micros([]byte(text)); ok {
				t.Errorf("%s: %q was read at %d", format, text, micros)
			}
		}
	}
}
