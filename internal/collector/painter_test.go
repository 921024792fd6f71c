package collector

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// painted is what a painter prints for a line.
func painted(t *testing.T, p painter, line string) string {
	t.Helper()
	var out bytes.Buffer
	p.w = bufio.NewWriter(&out)
	if err := p.line([]byte(line)); err != nil {
		t.Fatal(err)
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestPainterEscapes: on a terminal a line is one line of text, whatever is in it; the
// only control sequences are the painter's own, and they end before the line does.
func TestPainterEscapes(t *testing.T) {
	highlight, err := newPainter(new(bytes.Buffer), "always", "e+")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range hostile {
		for _, format := range []string{"syslog", "raw"} {
			line := "2026-11-25T21:00:00Z " + text + " app: " + text
			plain := painted(t, painter{safe: true, format: format}, line)
			if s := strings.TrimSuffix(plain, "\n"); strings.ContainsFunc(s, unprintable) || strings.Contains(s, "\n") {
				t.Errorf("%s: %q prints %q", format, text, plain)
			}
			colored := painted(t, painter{safe: true, color: true, format: format, highlight: highlight.highlight}, line)
			for _, own := range []string{"\x1b[0m", "\x1b[2m", "\x1b[1;7m"} {
				colored = strings.ReplaceAll(colored, own, "")
			}
			for i := range 100 {
				colored = strings.ReplaceAll(colored, "\x1b["+string(rune('0'+i/10))+string(rune('0'+i%10))+"m", "")
			}
			if colored != plain {
				t.Errorf("%s: %q in colours is\n%q, and without\n%q", format, text, colored, plain)
			}
		}
		document, err := json.Marshal(map[string]string{"body": text})
		if err != nil {
			t.Fatal(err)
		}
		if got := painted(t, painter{safe: true, json: true}, string(document)); strings.ContainsFunc(strings.TrimSuffix(got, "\n"), unprintable) {
			t.Errorf("as JSON %q prints %q", text, got)
		}
	}
}

// unprintable reports what a terminal may obey. A tab is text, and so are bytes of old
// encodings, but for those that are control characters there.
func unprintable(r rune) bool {
	return r != '\t' && r != unicode.ReplacementChar && !unicode.IsPrint(r)
}

// What does not go to a terminal is what is in the log, byte for byte.
func TestPainterCopies(t *testing.T) {
	for _, text := range hostile {
		text = strings.ReplaceAll(text, "\n", "")
		if got := painted(t, painter{}, text); got != text+"\n" {
			t.Errorf("%q is copied as %q", text, got)
		}
	}
}

func TestPainterColors(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	terminal, err := os.OpenFile("/dev/zero", os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // one that shows nothing: escaping takes time
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, row := range []struct {
		out                     *os.File
		color, noColor          string
		wantColor, wantEscaping bool
	}{
		{file, "auto", "", false, false}, {file, "always", "", true, false}, {file, "never", "", false, false},
		{terminal, "auto", "", true, true}, {terminal, "auto", "1", false, true}, {terminal, "always", "1", true, true},
		{terminal, "never", "", false, true}, {null, "auto", "", false, false},
	} {
		t.Setenv("NO_COLOR", row.noColor)
		p, err := newPainter(row.out, row.color, "")
		if err != nil || p.color != row.wantColor || p.safe != row.wantEscaping {
			t.Errorf("%+v: %+v, %v", row, p, err)
		}
	}
	for _, bad := range [][2]string{{"sometimes", ""}, {"auto", "("}} {
		if _, err := newPainter(file, bad[0], bad[1]); err == nil {
			t.Errorf("--color %q --highlight %q is accepted", bad[0], bad[1])
		}
	}
}
