package line

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"fanin/internal/wire"
)

const readAt = 1763830800123456 // 2025-11-22T17:00:00.123456Z

// TestMarks: a line shows the labels of the mark before it, else those of its batch.
func TestMarks(t *testing.T) {
	at := func(micros int64) time.Time { return time.UnixMicro(readAt + micros) }
	var attributes wire.Attributes
	for _, a := range [][2]string{{"PRIORITY", "3"}, {"x.y", "\"},\"Body\":\"\n"}} {
		b, _ := wire.AppendAttribute([]byte(attributes), a[0], []byte(a[1]))
		attributes = wire.Attributes(b)
	}
	marks := []wire.Mark{
		{Text: 2, Labels: wire.Labels{Source: "app"}},
		{Text: 6, Labels: wire.Labels{Host: "db", Time: at(1)}},
		{Text: 8, Labels: wire.Labels{Host: "db", Time: at(544000)}},
		{Text: 10, Labels: wire.Labels{Host: "db", Time: at(1e6)}},
		{Text: 12, Labels: wire.Labels{Time: at(0)}},
		{Text: 14, Labels: wire.Labels{Attributes: attributes}},
	}
	text := "1\n2\n3\n4\n5\n6\n7\n8\n"
	for format, want := range map[string]string{
		"syslog": `2025-11-22T17:00:00.123456Z web01 nginx: 1
2025-11-22T17:00:00.123456Z web01 app: 2
2025-11-22T17:00:00.123456Z web01 app: 3
2025-11-22T17:00:00.123457Z db nginx: 4
2025-11-22T17:00:00.667456Z db nginx: 5
2025-11-22T17:00:01.123456Z db nginx: 6
2025-11-22T17:00:00.123456Z web01 nginx: 7
2025-11-22T17:00:00.123456Z web01 nginx: 8
`,
		"json": `{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"1"}
{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"app","Body":"2"}
{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"app","Body":"3"}
{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","Timestamp":"2025-11-22T17:00:00.123457Z","host.name":"db","service.name":"nginx","Body":"4"}
{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","Timestamp":"2025-11-22T17:00:00.667456Z","host.name":"db","service.name":"nginx","Body":"5"}
{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","Timestamp":"2025-11-22T17:00:01.123456Z","host.name":"db","service.name":"nginx","Body":"6"}
{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Body":"7"}
{"ObservedTimestamp":"2025-11-22T17:00:00.123456Z","host.name":"web01","service.name":"nginx","Attributes":{"PRIORITY":"3","x.y":"\"},\"Body\":\"\u000a"},"Body":"8"}
`,
		"raw": text,
	} {
		for cut := 0; cut <= len(text); cut += 2 { // a batch is laid out in pieces
			l, _ := NewLayout(format)
			l.Begin(readAt, "web01", "nginx", marks)
			out, n := l.Append(nil, []byte(text[:cut]))
			out, m := l.Append(out, []byte(text[cut:]))
			if string(out) != want || n+m != 8 {
				t.Fatalf("%s cut at %d: %d lines\n%s\nwant\n%s", format, cut, n+m, out, want)
			}
		}
	}
}

// TestMarksLikeBatches: whatever labels follow one another, a line is laid out as if
// it were a batch of its own, and its parts are found again.
func TestMarksLikeBatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	times := []int64{0, 1, 123456, 999999, 1e6, 86400e6, -1, -1e6, -86400e6 * 366}
	for _, format := range []string{"syslog", "json"} {
		l, _ := NewLayout(format)
		one, _ := NewLayout(format)
		for range 300 {
			var text, want []byte
			var marks []wire.Mark
			for i := range 20 {
				m := wire.Labels{Host: pick("", "a", "bb"), Source: pick("", "s", "tt"),
					Attributes: wire.Attributes(pick("", "", "\x01a\x01\x00b", "\x01a\x0c\x00\"},\"Body\":\"\\\xff"))}
				if r.IntN(4) > 0 {
					m.Time = time.UnixMicro(readAt + times[r.IntN(len(times))] + r.Int64N(2)*readAt)
				}
				marks = append(marks, wire.Mark{Text: len(text), Labels: m})
				line := fmt.Appendf(nil, "line %d\n", i)
				text = append(text, line...)
				one.Begin(readAt, "h", "s", []wire.Mark{{Labels: m}})
				want, _ = one.Append(want, line)
			}
			l.Begin(readAt, "h", "s", marks)
			got, n := l.Append(nil, text)
			if !bytes.Equal(got, want) || n != len(marks) {
				t.Fatalf("%s: %+v\n%s\nwant\n%s", format, marks, got, want)
			}
			i := 0
			for line := range bytes.Lines(got) {
				checkParts(t, format, line, &marks[i].Labels)
				i++
			}
		}
	}
}

func checkParts(t *testing.T, format string, line []byte, l *wire.Labels) {
	t.Helper()
	f := Parse(format, line)
	shown, read := Stamp(time.UnixMicro(readAt)), Stamp(time.UnixMicro(readAt))
	if !l.Time.IsZero() {
		shown = Stamp(l.Time)
	}
	if format == "syslog" {
		read = shown
	} else if !json.Valid(line) {
		t.Fatalf("%s is no JSON", line)
	}
	if string(f.Time) != shown || string(f.Read) != read || l.Host != "" && string(f.Host) != l.Host || l.Source != "" && string(f.Source) != l.Source ||
		!bytes.HasPrefix(f.Body, []byte("line ")) {
		t.Fatalf("%s: the parts of %s are %q", format, line, f)
	}
}

// TestClock: whatever it showed before, a clock shows what it is set to.
func TestClock(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var c clock
	at := int64(0)
	for range 10_000 {
		if r.IntN(100) == 0 {
			at = r.Int64() - r.Int64()
		}
		at += r.Int64N(3e6) - 15e5
		c.set(at)
		var fresh clock
		if fresh.set(at); c != fresh {
			t.Fatalf("%d is shown as %s, want %s", at, c.text, fresh.text)
		}
		if want := time.UnixMicro(at); want.UTC().Year() >= 0 && want.UTC().Year() <= 9999 && string(c.text[:]) != Stamp(want) {
			t.Fatalf("%d is shown as %s, want %s", at, c.text, Stamp(want))
		}
	}
}

// BenchmarkMarks lays out lines, each of which has a time of its own.
func BenchmarkMarks(b *testing.B) {
	for _, format := range []string{"syslog", "json"} {
		for _, marked := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/marks=%v", format, marked), func(b *testing.B) {
				line := []byte("GET /a/path/like/those/of/web/servers 200 1234 \"a browser of some kind\"\n")
				var marks []wire.Mark
				for i := range wire.MaxMarks {
					if marked {
						marks = append(marks, wire.Mark{Text: i * len(line), Labels: wire.Labels{Time: time.UnixMicro(readAt + int64(i))}})
					}
				}
				text := bytes.Repeat(line, wire.MaxMarks)
				l, _ := NewLayout(format)
				var dst []byte
				for b.Loop() {
					l.Begin(readAt, "web01", "nginx", marks)
					dst, _ = l.Append(dst[:0], text)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*wire.MaxMarks), "ns/line")
			})
		}
	}
}
