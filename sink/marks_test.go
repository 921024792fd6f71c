package sink

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/internal/wire"
	"fanin/sink/line"
)

// labelled is a batch of n lines, each with labels of its own.
func labelled(b wire.Batch, n int, labels func(i int) wire.Labels) wire.Batch {
	b.Text, b.Marks = nil, nil
	for i := range n {
		b.Label(labels(i))
		b.Text = fmt.Appendf(b.Text, "%08d a line of some length, as logs have them, sixty\n", i)
	}
	return b
}

func eachTime(i int) wire.Labels {
	return wire.Labels{Source: "app", Time: time.UnixMicro(1763830800000000 + int64(i)*700)}
}

// TestMarksCostNoRecord: however often labels change, a batch is one record.
func TestMarksCostNoRecord(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	src := newSource()
	src.send(t, s, "zero")
	records := func() (n int) {
		if err := s.do(t.Context(), func(w *writer) error { n = int(w.ledger.size / recordSize); return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := records()
	anonymous := labelled(wire.Batch{Input: "tcp", Host: "h", Source: "s", Time: 1}, wire.MaxMarks, eachTime)
	if err := s.Append(t.Context(), anonymous); err != nil {
		t.Fatal(err)
	}
	b := labelled(src.batch("x"), wire.MaxMarks, func(i int) wire.Labels { return wire.Labels{Source: fmt.Sprint("s", i%2)} })
	b.End = b.Offset + int64(len(b.Text))
	if err := s.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := records() - before; got != 2 || len(b.Marks) != wire.MaxMarks {
		t.Errorf("two batches with %d marks each made %d records", wire.MaxMarks, got)
	}
}

// TestMarks: hosts and sources of lines are what filters choose by, whatever batch
// they came in; the sender's share is its own.
func TestMarks(t *testing.T) {
	for _, format := range []string{"syslog", "json"} {
		s := open(t, &Sink{Format: format})
		read := time.Now()
		b := wire.Batch{Input: "tcp", Host: "10.0.0.1", Source: "tcp", Time: read.UnixMicro()}
		for i, l := range []wire.Labels{{Host: "web-1", Source: "nginx", Time: read.Add(-time.Hour)}, {Host: "web-2"}, {Host: "web-1", Source: "app"}, {}} {
			b.Label(l)
			b.Text = fmt.Appendf(b.Text, "line %d\n", i)
		}
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for want, f := range map[string]line.Filter{
			"line 0 line 2": {Host: []string{"web-1"}},
			"line 1":        {Host: []string{"web-2"}, Source: []string{"tcp"}},
			"line 3":        {Host: []string{"10.*"}},
			"line 2":        {Source: []string{"app"}},
		} {
			if got := matching(t, s, f); got != want {
				t.Errorf("%s: %+v matches %q, want %q", format, f, got, want)
			}
		}
		if list := s.Senders(); len(list) != 1 || list[0].Host != "10.0.0.1" {
			t.Errorf("senders %+v", list)
		}
		s.Close(context.Background())
		if r, err := Verify(context.Background(), s.Path, ""); err != nil || !r.OK() {
			t.Errorf("verify: %+v, %v", r, err)
		}
	}
}

// matching is the bodies of the lines that f chooses.
func matching(t *testing.T, s *Sink, f line.Filter) string {
	t.Helper()
	if err := s.do(t.Context(), func(*writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	m, err := s.Matcher(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for laid := range strings.Lines(string(text)) {
		if m.Match([]byte(laid)) {
			bodies = append(bodies, string(s.Parts([]byte(laid)).Body))
		}
	}
	slices.Sort(bodies)
	return strings.Join(bodies, " ")
}

// BenchmarkMarks compares the processor time of lines with labels of their own to
// that of lines without.
func BenchmarkMarks(b *testing.B) {
	for _, format := range []string{"syslog", "json"} {
		for name, labels := range map[string]func(int) wire.Labels{
			"none": func(int) wire.Labels { return wire.Labels{} },
			"time": eachTime,
			"source": func(i int) wire.Labels {
				return wire.Labels{Source: [...]string{"nginx", "app", "postgresql"}[i%3]}
			},
			"both": func(i int) wire.Labels {
				l := eachTime(i)
				l.Source = [...]string{"nginx", "app", "postgresql"}[i%3]
				return l
			},
		} {
			b.Run(format+"/"+name, func(b *testing.B) {
				s := &Sink{Path: filepath.Join(b.TempDir(), "all.log"), Format: format, Sync: syncNone, Rotation: RotationPolicy{Size: -1}}
				if err := s.Open(context.Background()); err != nil {
					b.Fatal(err)
				}
				defer s.Close(context.Background())
				batch := labelled(wire.Batch{Input: "tcp", Host: "10.0.0.1", Source: "tcp", Time: time.Now().UnixMicro()}, wire.MaxMarks, labels)
				before := processorTime()
				for b.Loop() {
					if err := s.Append(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((processorTime()-before).Seconds()*1e6/float64(b.N*wire.MaxMarks), "CPU-s/Mlines")
			})
		}
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
