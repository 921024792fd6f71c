package sink

import (
	"path/filepath"
	"testing"

	"fanin/internal/wire"
)

// Another log continues the streams of a log from its marks, forwards or backwards, also after a
// kill, and what it knew of other streams ends.
func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) *Sink {
		s := &Sink{Path: filepath.Join(dir, name), State: filepath.Join(dir, name+".state"), Sync: "none"}
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b := open("a"), open("b")
	ids := []wire.StreamID{{1}, {2}, {3}}
	add := func(s *Sink, id wire.StreamID, at int64, text string) {
		t.Helper()
		batch := wire.Batch{Kind: wire.StreamAgent, Stream: id, Epoch: 1, Offset: at, End: at + int64(len(text)),
			Before: wire.Hash(at), After: wire.Hash(at + int64(len(text))), Agent: "web", Host: "web", Text: []byte(text)}
		if text == "" {
			batch.Op, batch.Text, batch.Source, batch.Identity = wire.OpOpen, nil, "app", []byte("inode")
		}
		if err := s.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids[:2] {
		add(a, id, 0, "")
		add(a, id, 0, "one\n")
	}
	for _, id := range ids { // b is ahead of one, and has one that a does not have
		add(b, id, 0, "")
	}
	add(b, ids[0], 0, "one\n")
	add(b, ids[0], 4, "two\n")
	marks := a.AllMarks()
	if err := b.Adopt(t.Context(), marks); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b = open("b")
	got := make(map[string]StreamMark)
	for _, m := range b.AllMarks() {
		got[m.ID] = m
	}
	if len(got) != 2 {
		t.Fatalf("%d streams, want 2: %v", len(got), got)
	}
	for _, m := range marks {
		if g := got[m.ID]; g.Offset != m.Offset || g.Tail != m.Tail || g.Agent != "web" || string(g.Identity) != "inode" {
			t.Errorf("adopted %+v, got %+v", m, g)
		}
	}
	add(b, ids[0], 4, "two\n")
	add(b, ids[1], 4, "two\n")
	gone := b.Marks([]wire.StreamID{ids[2].Owned(wire.StreamAgent, "web")})
	if len(gone) != 1 || !gone[0].Ended {
		t.Errorf("the mark of a stream that is not known: %+v", gone)
	}
	at, err := b.Settled(t.Context())
	if err != nil || at != b.End() {
		t.Errorf("settled at %v, %v; the end is %v", at, err, b.End())
	}
	for _, s := range []*Sink{a, b} {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Verify(t.Context(), filepath.Join(dir, "b"), filepath.Join(dir, "b.state"))
	if err != nil || !r.OK() {
		t.Errorf("verify: %v %+v", err, r.Problems)
	}
}
