package syslog

import (
	"bytes"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"fanin/internal/wire"
	layout "fanin/sink/line"
)

var update = flag.Bool("update", false, "write testdata/messages.txt anew")

const table = "testdata/messages.txt"

var readAt = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// example is one message of the table.
type example struct {
	title    string
	settings Settings
	from     Origin
	message  []byte
	at       int // the line of its message in the file
}

// examples are those of the table, and its lines.
func examples(t testing.TB) (all []*example, file []string) {
	t.Helper()
	b, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	file = strings.Split(string(b), "\n")
	for i, l := range file {
		if title, ok := strings.CutPrefix(l, "## "); ok {
			all = append(all, newExample(t, title))
		} else if message, ok := strings.CutPrefix(l, "< "); ok {
			x := all[len(all)-1]
			x.message, x.at = unescape(t, message), i
		}
	}
	return all, file
}

func newExample(t testing.TB, title string) *example {
	x := &example{settings: Settings{Source: "net", Zone: time.UTC}, from: Origin{Host: "192.0.2.1", Now: readAt}}
	title, settings, _ := strings.Cut(title, "  [")
	x.title = title
	for _, word := range strings.Fields(strings.TrimSuffix(settings, "]")) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "local":
			x.settings.Local = true
		case "trust_host":
			x.settings.TrustHost = true
		case "time":
			x.settings.SenderTime = true
		case "timezone":
			x.settings.Zone = nil
			if value != "" {
				zone, err := time.LoadLocation(value)
				if err != nil {
					t.Fatal(err)
				}
				x.settings.Zone = zone
			}
		case "pri":
			x.settings.KeepPRI = true
		case "format":
			x.settings.Any = true
		case "pid":
			x.from.PID, _ = strconv.Atoi(value)
		default:
			t.Fatalf("%s: the setting %q is not known", title, word)
		}
	}
	return x
}

func unescape(t testing.TB, text string) (b []byte) {
	for len(text) > 0 {
		c := text[0]
		if c != '\\' {
			b, text = append(b, c), text[1:]
			continue
		}
		c, text = text[1], text[2:]
		switch c {
		case 'n', 'r', 't', '0', '\\':
			b = append(b, map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '0': 0, '\\': '\\'}[c])
		case 'x':
			n, err := strconv.ParseUint(text[:2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			b, text = append(b, byte(n)), text[2:]
		default:
			t.Fatalf("the escape \\%c is not known", c)
		}
	}
	return b
}

// lineOf is the line of a message in a file of the format.
func (x *example) lineOf(t testing.TB, format string) string {
	t.Helper()
	s := x.settings
	s.JSON = format == "json"
	return lineOf(t, format, s.New(), x.message, &x.from)
}

func lineOf(t testing.TB, format string, scanner *Scanner, message []byte, from *Origin) string {
	t.Helper()
	out, labels := scanner.Scan([]byte("before"), message, from)
	text, ok := bytes.CutPrefix(out, []byte("before"))
	if !ok || bytes.IndexByte(text, '\n') >= 0 || len(text) > Room(len(message)) {
		t.Fatalf("%q becomes the line %q", message, out)
	}
	b := wire.Batch{Time: from.Now.UnixMicro(), Host: "h", Source: "s"}
	if !b.Label(labels) {
		t.Fatal("no room for labels")
	}
	b.Text, b.Joined = append(bytes.Clone(text), '\n'), wire.IsRecord(text)
	if err := b.Check(); err != nil {
		t.Fatalf("%q: %v", message, err)
	}
	l, err := layout.NewLayout(format)
	if err != nil {
		t.Fatal(err)
	}
	l.BeginBatch(&b, b.Host, b.Source)
	laid, _ := l.Append(nil, b.Text)
	return strings.TrimSuffix(string(laid), "\n")
}

// TestTable: each message of testdata/messages.txt becomes the lines that are there.
func TestTable(t *testing.T) {
	all, file := examples(t)
	if len(all) < 80 {
		t.Errorf("only %d messages", len(all))
	}
	var out []string
	next := 0
	for _, x := range all {
		out = append(out, file[next:x.at+1]...)
		next = x.at + 1
		for _, form := range []struct{ format, mark, cut string }{
			{"syslog", "= ", ""}, {"json", "j ", `{"ObservedTimestamp":"2026-11-26T12:00:00.000000Z",`},
		} {
			got := form.mark + strings.TrimPrefix(x.lineOf(t, form.format), form.cut)
			out = append(out, got)
			if next < len(file) && strings.HasPrefix(file[next], form.mark) {
				if file[next] != got && !*update {
					t.Errorf("%s (%s:%d):\n got %s\nwant %s", x.title, table, next+1, got, file[next])
				}
				next++
			} else if !*update {
				t.Errorf("%s (%s:%d): no line %q", x.title, table, next+1, form.mark)
			}
		}
	}
	if *update {
		out = append(out, file[next:]...)
		if err := os.WriteFile(table, []byte(strings.Join(out, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRaw: in a log that shows no labels, each message is the line as it is.
func TestRaw(t *testing.T) {
	all, _ := examples(t)
	for _, x := range all {
		s := x.settings
		s.Raw = true
		out, labels := s.New().Scan(nil, x.message, &x.from)
		if text := wire.AppendRecordText(nil, out); !bytes.Equal(text, trimEnd(x.message)) || labels.Host != x.from.Host {
			t.Errorf("%s: %q becomes %q of %s", x.title, x.message, text, labels.Host)
		}
	}
}
