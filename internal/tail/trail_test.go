package tail

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"fanin/internal/wire"
)

// still is a tailer that looks at nothing, and a follower of a file that it made.
func still(t *testing.T, text string) (*Tailer, *follower) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	tailer := &Tailer{Settings: Settings{State: dir}}
	tailer.defaults()
	var err error
	if tailer.positions, _, err = openPositions(nil, dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	file, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.close)
	return tailer, &follower{t: tailer, table: &Table{}, file: file, wake: make(chan struct{}, 1),
		location: location{path: path}, place: progress{stream: wire.NewStreamID()}}
}

// TestBackwardsWithoutTrail: a stream that resumes further back forgets the places
// behind that: what is in between is not in the log, and no place in it may be resumed at.
func TestBackwardsWithoutTrail(t *testing.T) {
	text := "one\ntwo\nthree\n"
	_, f := still(t, text)
	at := func(n int64) wire.Point { return wire.Point{Offset: n, Tail: wire.TailHash([]byte(text[:n]))} }
	f.place.local = localState{cursor: cursor{Point: at(14)}, epoch: 1, trail: []wire.Point{at(4), at(8)}}
	if err := f.agree(plan{epoch: 1, base: at(8)}, logID{}); err != nil {
		t.Fatal(err)
	}
	if len(f.place.local.trail) != 1 || f.place.local.trail[0] != at(4) || f.place.local.Point != at(8) {
		t.Errorf("it is at %v with the trail %v", f.place.local.Point, f.place.local.trail)
	}
}

// TestHandOverIsSaved: a stream that continues in a copy is marked as the copy's at
// once, and the file's new stream with it: a process that ends before either is read finds both. Until the copy's
// follower has taken it, the stream is not one of a missing file.
func TestHandOverIsSaved(t *testing.T) {
	tailer, f := still(t, "one\ntwo\n")
	_, g := still(t, "one\ntwo\n")
	g.t, g.maybeCopy, g.key, g.place.stream = tailer, true, fileKey{1, 2}, wire.StreamID{}
	tailer.followers[g.key] = g
	sent := localState{cursor: cursor{Point: wire.Point{Offset: 4, Tail: wire.TailHash([]byte("one\n"))}}, epoch: 1}
	stream := f.place.stream
	if !tailer.handOver(t.Context(), f, g, sent) {
		t.Fatal("the copy was not taken")
	}
	if m := tailer.positions.all()[stream]; m == nil || m.path != g.path || m.Point != sent.Point {
		t.Errorf("the mark is %+v", m)
	}
	if m := tailer.positions.all()[f.place.stream]; f.place.stream == stream || m == nil || m.path != f.path || m.Offset != 0 {
		t.Errorf("the mark of the file that was copied is %+v", m)
	}
	if known := tailer.known(); len(known) > 0 {
		t.Errorf("%+v have no follower", known)
	}
}

// TestHandoverWhileReplaced: a stream that is handed over while a file is compared with
// the one before it resumes where the handover says, not where the comparison does.
func TestHandoverWhileReplaced(t *testing.T) {
	tailer, f := still(t, "one\ntwo\n")
	_, g := still(t, "one\ntwo\n")
	g.t, g.maybeCopy, g.key, g.place.stream = tailer, true, fileKey{1, 2}, wire.StreamID{}
	tailer.followers[g.key] = g
	sent := localState{cursor: cursor{Point: wire.Point{Offset: 4, Tail: wire.TailHash([]byte("one\n"))}}, epoch: 3}
	stream := f.place.stream
	if !tailer.handOver(t.Context(), f, g, sent) {
		t.Fatal("the handover was refused")
	}
	g.startAt(wire.Point{Offset: 8})
	g.claim()
	if g.place.stream != stream || g.place.local.Point != sent.Point || g.place.local.epoch != 3 || g.place.sent != sent.Point {
		t.Errorf("the stream resumes at %+v, want %+v", g.place.local, sent)
	}
}

// TestHeadOfWhatIsGone: a file is truncated before its first lines are acknowledged. The saved position says how the text
// began that was sent.
func TestHeadOfWhatIsGone(t *testing.T) {
	_, f := still(t, "one\n")
	sums := f.file.headSums()
	f.setOpened(headOf(sums))
	f.place.local = localState{cursor: cursor{Point: wire.Point{Offset: 4, Tail: wire.TailHash([]byte("one\n"))}}, epoch: 1}
	f.place.agreed = true
	if err := os.WriteFile(f.path, []byte("another\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got := f.position().head; !got.begins(sums) || got.bits == 0 {
		t.Errorf("it began with %+v, want a head of %x", got, sums)
	}
}
