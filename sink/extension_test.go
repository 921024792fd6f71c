package sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"fanin/internal/counters"
	"fanin/internal/wire"
)

const testKind = wire.FirstExtensionKind

// remember appends lines without a stream that set or delete values.
func remember(s *Sink, text string, extensions ...wire.Extension) error {
	return s.Append(context.Background(), wire.Batch{Input: "test", Host: "web", Source: "app", Text: []byte(text), Local: wire.Local{Extensions: extensions}})
}

func set(name, value string) wire.Extension {
	return wire.Extension{Kind: testKind, Name: name, Value: []byte(value)}
}

// remembers compares the values of a kind with name, value, name, value.
func remembers(t *testing.T, s *Sink, kind wire.ExtensionKind, want ...string) {
	t.Helper()
	m := make(map[string]string)
	for i := 0; i < len(want); i += 2 {
		m[want[i]] = want[i+1]
	}
	got := make(map[string]string)
	for name, v := range s.Extensions(kind) {
		got[name] = string(v)
	}
	if !maps.Equal(got, m) {
		t.Fatalf("kind %d has %q, want %q", kind, got, m)
	}
}

func TestExtensions(t *testing.T) {
	s := open(t, &Sink{})
	other := set("a", "of another kind")
	other.Kind++
	for _, x := range []struct {
		text string
		set  []wire.Extension
	}{
		{"one\n", []wire.Extension{set("a", "1"), set("b", "1"), set("c", "1"), other}},
		{"two\n", []wire.Extension{set("a", "2"), set("b", "")}},
		{"", []wire.Extension{set("c", "3"), set("c", ""), set("none", ""), set("d", "4")}}, // no lines
	} {
		if err := remember(s, x.text, x.set...); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		remembers(t, s, testKind, "a", "2", "d", "4")
		remembers(t, s, testKind+1, "a", "of another kind")
		s = reopen(t, s)
	}
	if err := remember(s, "", set("a", ""), set("d", "")); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	remembers(t, s, testKind)
	expectLines(t, s, "one", "two")
}

// A batch that is not written changes nothing, and a repeat nothing a second time.
func TestExtensionsOfStreams(t *testing.T) {
	s := open(t, &Sink{})
	src := newSource()
	src.send(t, s, "one")
	b := src.batch("two")
	b.Extensions = []wire.Extension{set("a", "1")}
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if err := remember(s, "", set("a", "")); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(context.Background(), b); err != nil { // a repeat
		t.Fatal(err)
	}
	elsewhere := src.batch("three")
	elsewhere.Offset++
	elsewhere.Extensions = b.Extensions
	var e *wire.Expected
	if err := s.Append(context.Background(), elsewhere); !errors.As(err, &e) {
		t.Fatal(err)
	}
	remembers(t, s, testKind)
	expectLines(t, s, "one", "two")
}

// A batch with extensions is committed in one frame, however much it grows; what
// cannot be is refused.
func TestExtensionsAreNotDivided(t *testing.T) {
	s := open(t, &Sink{})
	commits := s.counts.commits.Load()
	b := wire.Batch{Input: "test", Host: strings.Repeat("h", 200), Source: strings.Repeat("s", 200), Text: []byte(strings.Repeat(strings.Repeat("x", wire.MaxCutText/wire.MaxCutLines-1)+"\n", wire.MaxCutLines)), Local: wire.Local{Extensions: []wire.Extension{set("a", "1")}}}
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if n := s.counts.commits.Load() - commits; n != 1 {
		t.Errorf("%d commits", n)
	}
	long := wire.Batch{Input: "test", Host: "h", Source: "s", Text: []byte(strings.Repeat("x", wire.MaxLine-1) + "\n"), Local: b.Local}
	if err := s.Append(context.Background(), long); err != nil {
		t.Error("one long line: ", err)
	}
	b.Extensions, commits = nil, s.counts.commits.Load()
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if n := s.counts.commits.Load() - commits; n < 2 {
		t.Errorf("%d commits: the text is too small for this test", n)
	}
	own := set("a", "1")
	own.Kind = wire.FirstExtensionKind - 1
	many := make([]wire.Extension, 17)
	for i := range many {
		many[i] = set(fmt.Sprint(i), strings.Repeat("v", wire.MaxExtensionValue))
	}
	for name, b := range map[string]wire.Batch{
		"a kind of the sink's own": {Text: []byte("x\n"), Local: wire.Local{Extensions: []wire.Extension{own}}},
		"a long name":              {Text: []byte("x\n"), Local: wire.Local{Extensions: []wire.Extension{set(strings.Repeat("n", wire.MaxExtensionName+1), "1")}}},
		"a long value":             {Text: []byte("x\n"), Local: wire.Local{Extensions: []wire.Extension{set("a", strings.Repeat("v", wire.MaxExtensionValue+1))}}},
		"many bytes":               {Text: []byte("x\n"), Local: wire.Local{Extensions: many}},
		"many lines":               {Text: []byte(strings.Repeat("\n", wire.MaxCutLines+1)), Local: wire.Local{Extensions: []wire.Extension{set("a", "1")}}},
		"much text":                {Text: []byte(strings.Repeat("x", wire.MaxCutText-1) + "\n\n"), Local: wire.Local{Extensions: []wire.Extension{set("a", "1")}}},
		"a lossy stream":           {Kind: wire.StreamLossy, Stream: idOf(1), End: 1, Text: []byte("x\n"), Local: wire.Local{Extensions: []wire.Extension{set("a", "1")}}},
		"an open":                  {Op: wire.OpOpen, Stream: idOf(1), Local: wire.Local{Extensions: []wire.Extension{set("a", "1")}}},
		"marks without text":       {Marks: []wire.Mark{{}}, Local: wire.Local{Extensions: []wire.Extension{set("a", "1")}}},
		"nothing at all":           {},
	} {
		if err := s.Append(context.Background(), b); !errors.Is(err, wire.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	remembers(t, s, testKind, "a", "1")
}

// There are at most so many values. Those that are there can still be changed.
func TestExtensionsAreBounded(t *testing.T) {
	s := open(t, &Sink{Sync: syncNone})
	const part = 256
	for i := 0; i < wire.MaxExtensions; i += part {
		var list []wire.Extension
		for j := range part {
			list = append(list, set(fmt.Sprint(i+j), "v"))
		}
		if err := remember(s, "", list...); err != nil {
			t.Fatal(err)
		}
	}
	if err := remember(s, "lost\n", set("0", "w"), set("one more", "v")); !errors.Is(err, wire.ErrRefused) {
		t.Fatalf("one too many: %v", err)
	}
	if n := s.counts.of("test").Counts().Rejected[counters.TooLarge]; n != 1 {
		t.Errorf("%d lines counted as rejected", n)
	}
	if err := remember(s, "x\n", set("0", "w"), set("1", ""), set("unknown", "")); err != nil {
		t.Fatal(err)
	}
	if err := remember(s, "y\n", set("one more", "v"), set("0", "w")); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	values := s.Extensions(testKind)
	if len(values) != wire.MaxExtensions || string(values["0"]) != "w" || values["1"] != nil {
		t.Errorf("%d values, %q, %q", len(values), values["0"], values["1"])
	}
	expectLines(t, s, "x", "y")
}

// Extensions without text make a group full, too.
func TestExtensionsFillGroups(t *testing.T) {
	var g group
	for n := 0; n < groupBytes-extensionHeader-1; n += 1 << 10 {
		if g.full() {
			t.Fatalf("full at %d bytes", n)
		}
		g.addExtension(extension{value: strings.Repeat("v", 1<<10-extensionHeader)})
	}
	if !g.full() || !g.mayDivide() {
		t.Error("it is not full")
	}
	g.undivided = true
	if g.mayDivide() {
		t.Error("a batch with extensions may be divided")
	}
	if g.reset(); g.full() {
		t.Error("a new group is full")
	}
}
