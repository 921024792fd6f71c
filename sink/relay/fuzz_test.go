package relay

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fanin/internal/wire"
	"fanin/sink/line"
)

// FuzzLines: whatever stands in a log's file, the relay makes a text of it that a batch may have;
// and of a line that this log laid out, the upstream lays out the same line again.
func FuzzLines(f *testing.F) {
	for _, body := range bodies {
		f.Add("syslog", body[:min(len(body), 200)], false)
		f.Add("json", body[:min(len(body), 200)], true)
	}
	f.Fuzz(func(t *testing.T, format, body string, raw bool) {
		if format != "json" {
			format = "syslog"
		}
		text := []byte(body)
		if !raw {
			text = layOut(t, format, wire.AppendRecord(nil, text), true, wire.Labels{Host: "h", Source: "s", Attributes: "\x01v\x01\x00\"", Time: labelTime})
		}
		text = bytes.TrimSuffix(bytes.ReplaceAll(text, []byte("\n"), nil), []byte("\n"))
		l := labeler{format: format, host: "here"}
		shown, _ := l.body(text)
		made := bytes.Clone(l.text(shown))
		b := wire.Batch{End: 1, Local: wire.Local{Relayed: true}}
		b.Label(l.labels)
		b.Text = append(made, '\n')
		if err := b.Check(); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if raw {
			return
		}
		if again := bytes.TrimSuffix(layOut(t, format, made, format == "json", l.labels), []byte("\n")); !bytes.Equal(again, text) {
			t.Fatalf("the line\n%q\nbecame\n%q", text, again)
		}
		if again, changed := l.body(text); changed || !bytes.Equal(again, shown) {
			t.Fatalf("the same labels again: %q, %t", again, changed)
		}
	})
}

var labelTime = time.UnixMicro(1795366800123456)

// layOut lays a line out, which may be a record's.
func layOut(t *testing.T, format string, text []byte, joined bool, labels wire.Labels) []byte {
	l, err := line.NewLayout(format)
	if err != nil {
		t.Fatal(err)
	}
	b := wire.Batch{Time: labels.Time.UnixMicro(), Joined: joined && wire.IsRecord(text), Marks: []wire.Mark{{Labels: labels}}}
	l.BeginBatch(&b, "-", "-")
	out, _ := l.Append(nil, append(bytes.Clone(text), '\n'))
	return out
}

// FuzzSaved: a file that is torn or is none of the relay's is as if there were none.
func FuzzSaved(f *testing.F) {
	f.Add([]byte(`{"to":"tcp://up:1","run":3,"upstream":"","incarnation":"","at":"3:4096","tail":7,"known":true,"way":["00000000000000000000000000000001"]}`))
	f.Add([]byte(`{"log":"00000000000000000000000000000002","to":"","run":4,"at":"4:0","tail":0,"floor":"4:0"}`))
	f.Add([]byte(`{"run":4,"at":"4:0","floor":"4"}`))
	f.Add([]byte(`{"at":"3:`))
	f.Add([]byte(`{"way":["x"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), fileName)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, damaged := load(path)
		if damaged != nil && (s.At != "" || len(s.Way) > 0 || s.Run != 0) {
			t.Fatalf("a damaged file counts: %+v", s)
		}
		if len(s.way().Logs) > wire.MaxWay {
			t.Fatalf("a way of %d", len(s.way().Logs))
		}
		readIdentity(b)
	})
}
