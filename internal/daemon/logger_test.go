package daemon

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"unicode"
)

// What the programs say of themselves is one line of text for each message,
// whatever peers, hosts, workers and servers are called: under systemd, too.
func TestLoggerEscapes(t *testing.T) {
	for _, journal := range []string{"", "8:1"} {
		t.Setenv("JOURNAL_STREAM", journal)
		for _, text := range []string{"\x1b[2J", "a\nlevel=ERROR forged", "\u009b31m", "\x9b", "\u2028", "\u202ex", "\x7f\r\t", "\xc0\x9b"} {
			line := logged(t, func(l *slog.Logger) {
				l.Warn("a worker is "+text, "err", errors.New(text), "peer", text, "list", []string{text}, slog.Group("g", "host", text))
			})
			if strings.Count(line, "\n") != 1 {
				t.Errorf("%q makes %q", text, line)
			}
			for _, r := range strings.TrimSuffix(line, "\n") {
				if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
					t.Errorf("%q makes %q", text, line)
					break
				}
			}
		}
	}
}

// logged is what a logger writes to stderr.
func logged(t *testing.T, log func(*slog.Logger)) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stderr := os.Stderr
	os.Stderr = w
	log(Logger(slog.LevelInfo))
	os.Stderr = stderr
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
