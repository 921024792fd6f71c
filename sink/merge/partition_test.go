package merge

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
)

// openLog opens a log, which is closed with the test.
func openLog(t testing.TB, name string) *sink.Sink {
	t.Helper()
	s := &sink.Sink{Path: filepath.Join(t.TempDir(), name+".log"), Host: "here", Sync: "none"}
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// put appends a line that was read at a time, and returns where the log ends then.
func put(t testing.TB, s *sink.Sink, at time.Time, text string) sink.Position {
	t.Helper()
	before := s.End()
	if err := s.Append(context.Background(), wire.Batch{Host: "web", Source: "app", Input: "tcp", Time: at.UnixMicro(), Text: []byte(text + "\n")}); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the line to be in the file", func() bool { return s.End() != before })
	return s.End()
}

// observe returns a log as another process sees it.
func observe(t testing.TB, s *sink.Sink) Observed {
	t.Helper()
	o, err := sink.Observe(context.Background(), s.Path, s.State, "")
	if err != nil {
		t.Fatal(err)
	}
	return Observed{o}
}

// partition begins to read a partition.
func partition(t testing.TB, from Place, tenures []Tenure) *Partition {
	t.Helper()
	p, err := NewPartition(context.Background(), from, tenures)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// bodies returns the lines that a merge returns.
func bodies(t *testing.T, m *Merge) (list []string) {
	t.Helper()
	for line := range strings.Lines(all(t, m, -1)) {
		_, body, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " app: ")
		list = append(list, body)
	}
	return list
}

// TestLogs merges three logs, over rotations and archives, of which nothing, all or a part is in a ledger.
func TestLogs(t *testing.T) {
	begun := time.Now().Add(-time.Hour).Truncate(time.Second)
	var logs []*sink.Sink
	for i := range 3 {
		logs = append(logs, openLog(t, fmt.Sprint("part-", i)))
	}
	var want []string
	for i := range 90 {
		want = append(want, fmt.Sprint("line ", i))
		put(t, logs[i%3], begun.Add(time.Duration(i)*time.Second), want[i])
		if i%10 == 9 {
			if _, err := logs[i/10%3].Rotate(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if i == 60 {
			logs[1].Checkpoint(context.Background())
		}
	}
	for _, since := range []int{0, 45, 89} {
		var list []Log
		var at Places
		for i, s := range logs {
			tenures := []Tenure{{Log: observe(t, s)}}
			place, err := Since(context.Background(), i, tenures, begun.Add(time.Duration(since)*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			p := partition(t, place, tenures)
			list, at = append(list, p), append(at, place)
		}
		m := New(list, at, Options{})
		got := bodies(t, m)
		m.Close()
		if i := slices.Index(got, want[since]); i < 0 || !slices.Equal(got[i:], want[since:]) {
			t.Errorf("since line %d: %q", since, got)
		} else if since > 60 && i > 30 {
			t.Errorf("since line %d: it begins %d lines before", since, i)
		}
	}
}

// TestTenures: what two owners of a partition wrote is read one after the other. What the first one still wrote when the
// second one had begun, and what stands in both, is read once.
func TestTenures(t *testing.T) {
	begun := time.Now().Add(-time.Hour).Truncate(time.Second)
	one, two := openLog(t, "one"), openLog(t, "two")
	at := func(second int) time.Time { return begun.Add(time.Duration(second) * time.Second) }
	put(t, one, at(1), "a")
	moved := put(t, one, at(2), "b")
	put(t, one, at(3), "c") // not acknowledged: the next owner has it
	put(t, two, at(0), "of another time")
	began := put(t, two, at(0), "of another time, too")
	put(t, two, at(3), "c")
	back := put(t, two, at(9), "d") // its clock is ahead
	again := put(t, one, at(4), "nobody's")
	put(t, one, at(5), "e")
	tenures := func() []Tenure {
		first, second := observe(t, one), observe(t, two)
		return []Tenure{{Epoch: 3, Log: first, To: moved}, {Epoch: 5, Log: second, From: began, To: back}, {Epoch: 8, Log: first, From: again}}
	}
	begin := func(from Place, o Options) *Merge {
		m := New([]Log{partition(t, from, tenures())}, Places{from}, o)
		t.Cleanup(m.Close)
		return m
	}
	want := []string{"a", "b", "c", "d", "e"}
	if got := bodies(t, begin(Place{Partition: 4}, Options{})); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	m := begin(Place{Partition: 4}, Options{})
	for i := range want {
		places, err := ParsePlaces(m.Places().String())
		if err != nil {
			t.Fatal(err)
		}
		if got := bodies(t, begin(places[0], Options{})); i%2 == 0 && len(got) > len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
			t.Errorf("at %s: %q", places, got)
		}
		if p, err := m.Next(context.Background()); err != nil || len(p.Text) == 0 {
			break
		}
	}
	for _, x := range []struct {
		from Place
		want string
	}{{Place{Epoch: 4}, "c d e"}, {Place{Epoch: 5}, "c d e"}, {Place{Epoch: 8, At: again}, "e"}, {Place{Epoch: 9, At: again}, ""}, {Place{Epoch: 3, At: moved}, "c d e"}} {
		if got := strings.Join(bodies(t, begin(x.from, Options{})), " "); got != x.want {
			t.Errorf("from %s: %q, want %q", x.from, got, x.want)
		}
	}
	for second, want := range map[int]string{1: "a b c d e", 3: "c d e", 5: "e"} {
		place, err := Since(context.Background(), 4, tenures(), at(second))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(bodies(t, begin(place, Options{})), " "); !strings.HasSuffix(got, want) {
			t.Errorf("since second %d: %q, want %q at the end", second, got, want)
		}
	}
}

// TestMoreTenures: a partition that is followed goes on with its next owner, from where the one before has ended.
func TestMoreTenures(t *testing.T) {
	one, two := openLog(t, "one"), openLog(t, "two")
	put(t, one, time.Now(), "a")
	list := []Tenure{{Epoch: 1, Log: observe(t, one)}}
	p := partition(t, Place{}, list)
	more := make(chan []Tenure, 1)
	p.More = func(context.Context) ([]Tenure, error) {
		select {
		case list := <-more:
			return list, nil
		default:
			return nil, nil
		}
	}
	m := New([]Log{p}, Places{{}}, Options{Follow: true})
	defer m.Close()
	next := func(want string) {
		t.Helper()
		if x, err := m.Next(t.Context()); err != nil || !strings.HasSuffix(string(x.Text), " app: "+want+"\n") {
			t.Fatalf("%q, %v, want %q", x.Text, err, want)
		}
	}
	next("a")
	moved := put(t, one, time.Now(), "b")
	next("b")
	put(t, two, time.Now(), "c")
	more <- []Tenure{{Epoch: 1, Log: list[0].Log, To: moved}, {Epoch: 2, Log: observe(t, two)}}
	next("c")
	if at := m.Places()[0]; at.Epoch != 2 {
		t.Errorf("at %s", at)
	}
}
