package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"fanin/sink"
)

// chunk is some lines that were read at one time.
type chunk struct {
	text string
	time int64
}

// memory is a log in memory.
type memory struct {
	number int
	chunks []chunk
	most   int // chunks that a read returns
	at     int // the next chunk
	latest int64
	more   chan []chunk // what Wait adds; nil: nothing
}

func (m *memory) place(i int) Place {
	return Place{Partition: m.number, At: sink.Position{Generation: 1, Offset: m.offset(i)}}
}

func (m *memory) offset(i int) (n int64) {
	for _, c := range m.chunks[:i] {
		n += int64(len(c.text))
	}
	return n
}

func (m *memory) Read(context.Context, []byte) (text []byte, at Place, err error) {
	at = m.place(m.at)
	for n := 0; n < m.most && m.at < len(m.chunks); n++ {
		text = append(text, m.chunks[m.at].text...)
		m.at++
	}
	return text, at, nil
}

func (m *memory) Spans(dst []sink.Span, text []byte, at Place) ([]sink.Span, error) {
	i := slices.IndexFunc(m.chunks, func(c chunk) bool { at.At.Offset -= int64(len(c.text)); return at.At.Offset < 0 })
	for end := 0; end < len(text); i++ {
		end += len(m.chunks[i].text)
		m.latest = max(m.latest, m.chunks[i].time)
		dst = append(dst, sink.Span{End: end, Time: m.latest})
	}
	return dst, nil
}

func (m *memory) Wait(ctx context.Context) error {
	select {
	case c := <-m.more:
		m.chunks = append(m.chunks, c...)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *memory) Close() error { return nil }

// model merges logs from chunks on, one chunk after the other.
func model(logs []*memory, from []int, until int64) (text string) {
	at, latest := slices.Clone(from), make([]int64, len(logs))
	for {
		first, when := -1, int64(0)
		for i, l := range logs {
			if at[i] == len(l.chunks) {
				continue
			}
			if t := max(latest[i], l.chunks[at[i]].time); t < until && (first < 0 || t < when) {
				first, when = i, t
			}
		}
		if first < 0 {
			return text
		}
		text += logs[first].chunks[at[first]].text
		latest[first] = when
		at[first]++
	}
}

// begin begins a merge of copies of logs.
func begin(logs []*memory, from []int, o Options) *Merge {
	var list []Log
	var at Places
	for i, l := range logs {
		list = append(list, &memory{number: l.number, chunks: l.chunks, most: l.most, at: from[i]})
		at = append(at, l.place(from[i]))
	}
	return New(list, at, o)
}

// all returns what a merge returns.
func all(t interface{ Fatal(...any) }, m *Merge, pieces int) (text string) {
	for ; pieces != 0; pieces-- {
		p, err := m.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Text) == 0 {
			break
		}
		text += string(p.Text)
	}
	return text
}

// TestMerge: a merge returns the lines that a naive one returns, each once, in the same order, whatever is read at a
// time; and one that continues where it was returns the rest.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var logs []*memory
		for i := range rapid.IntRange(1, 5).Draw(t, "logs") {
			l := &memory{number: 2*i + 1, most: rapid.IntRange(1, 9).Draw(t, "most")}
			for n := range rapid.IntRange(0, 30).Draw(t, "chunks") {
				c := chunk{time: rapid.Int64Range(1, 9).Draw(t, "time")}
				for range rapid.IntRange(1, 3).Draw(t, "lines") {
					c.text += fmt.Sprintf("%d: %d\n", i, n)
				}
				l.chunks = append(l.chunks, c)
			}
			logs = append(logs, l)
		}
		from, o, until := make([]int, len(logs)), Options{}, int64(100)
		if rapid.Bool().Draw(t, "bounded") {
			until = rapid.Int64Range(0, 10).Draw(t, "until")
			o.Until = time.UnixMicro(until)
		}
		m := begin(logs, from, o)
		got, want := all(t, m, -1), model(logs, from, until)
		m.Close()
		if got != want {
			t.Fatalf("got:\n%s\nwant:\n%s", got, want)
		}
		m = begin(logs, from, o)
		first := all(t, m, rapid.IntRange(1, 20).Draw(t, "pieces"))
		places, err := ParsePlaces(m.Places().String())
		m.Close()
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range logs {
			at, _ := places.Of(l.number)
			for n := range len(l.chunks) + 1 {
				if l.offset(n) == at.At.Offset {
					from[i] = n
				}
			}
		}
		m = begin(logs, from, o)
		defer m.Close()
		rest := all(t, m, -1)
		if want := model(logs, from, until); rest != want || len(first)+len(rest) != len(got) {
			t.Fatalf("after:\n%s\nat %s the rest is:\n%s\nwant:\n%s", first, places, rest, want)
		}
	})
}

// broken is a log that cannot be read, once or for good.
type broken struct {
	memory
	err error
}

func (b *broken) Read(ctx context.Context, buf []byte) ([]byte, Place, error) {
	if b.at == 2 && b.err != nil {
		err := b.err
		if isGap(err) {
			b.err = nil
		}
		return nil, b.place(b.at), err
	}
	return b.memory.Read(ctx, buf)
}

// TestErrors: behind lines that are gone a merge continues, and no line is returned as if none were missing. Any other
// error ends it.
func TestErrors(t *testing.T) {
	gone := &sink.GoneError{From: sink.Position{Generation: 1, Offset: 4}, To: sink.Position{Generation: 1, Offset: 6}}
	other := errors.New("the disk is broken")
	for _, failure := range []error{gone, other} {
		chunks := []chunk{{"a\n", 1}, {"b\n", 3}, {"c\n", 5}}
		m := New([]Log{&broken{memory{chunks: chunks, most: 1}, failure}, &memory{number: 1, chunks: []chunk{{"x\n", 2}, {"y\n", 4}}, most: 2}},
			Places{{}, {Partition: 1}}, Options{})
		defer m.Close()
		var text bytes.Buffer
		var err error
		for err == nil {
			var p Piece
			if p, err = m.Next(context.Background()); err == nil && len(p.Text) == 0 {
				t.Fatal("no error came")
			}
			text.Write(p.Text)
		}
		if !errors.Is(err, failure) || text.String() != "a\nx\nb\n" {
			t.Errorf("after %q: %v", &text, err)
		}
		if failure == gone {
			if rest := all(t, m, -1); rest != "y\nc\n" {
				t.Errorf("behind the gap: %q", rest)
			}
		}
	}
}

// TestFollow: lines wait for those of a log that is at its end, and no longer than the window.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &memory{most: 1, more: make(chan []chunk)}, &memory{number: 1, most: 1, more: make(chan []chunk)}
		idle := 0
		m := New([]Log{one, two}, Places{{}, {Partition: 1}}, Options{Follow: true, Window: time.Second, Idle: func() { idle++ }})
		defer m.Close()
		next := func(want string, after time.Duration) {
			t.Helper()
			begun := time.Now()
			if p, err := m.Next(t.Context()); err != nil || string(p.Text) != want || time.Since(begun) != after {
				t.Errorf("%q, %v after %v; want %q after %v", p.Text, err, time.Since(begun), want, after)
			}
		}
		one.more <- []chunk{{"a\n", 5}}
		synctest.Wait()
		next("a\n", time.Second)
		one.more <- []chunk{{"c\n", 7}}
		two.more <- []chunk{{"b\n", 6}}
		synctest.Wait()
		next("b\n", 0)
		time.Sleep(time.Second / 4)
		next("c\n", 3*time.Second/4)
		if idle < 2 {
			t.Error("the merge waited and did not say so")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("without a context: %v", err)
		}
	})
}
