package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natstest"
	"fanin/internal/wire"
	"fanin/sink"
)

// journals opens the journal of partition 3 as two owners do.
func journals(t *testing.T) (a, b *journal) {
	t.Helper()
	s := natstest.New(t)
	js := s.JetStream(s.Connect())
	c := &Config{Name: "LOGS", Create: true, Replicas: 1}
	stream, err := openJournals(t.Context(), js, c)
	if err != nil {
		t.Fatal(err)
	}
	return newJournal(js, stream, c, 3), newJournal(js, stream, c, 3)
}

func mine(context.Context) error { return nil }

func none([]wire.StreamID) []sink.StreamMark { return nil }

func owned(t *testing.T, j *journal, revision uint64, owner string) *Ownership {
	t.Helper()
	s, err := j.claim(t.Context(), revision, owner, mine)
	if err != nil {
		t.Fatal(err)
	}
	o := owning(j, s)
	if err := o.Begin(t.Context(), owner+owner, sink.Position{Generation: 1}, o.state.Marks, false); err != nil {
		t.Fatal(err)
	}
	return o
}

// owning is an owner that has claimed, with a lease that lasts.
func owning(j *journal, s *State) *Ownership {
	o := &Ownership{Partition: 3, Epoch: j.epoch, journal: j, state: s, lease: newLease(time.Hour), owns: mine}
	o.lease.renew(time.Now())
	return o
}

func commit(t *testing.T, o *Ownership, last uint64, stream string, offset int64) error {
	t.Helper()
	marks := []sink.StreamMark{{ID: stream, Offset: offset}}
	o.all = func() []sink.StreamMark { return marks }
	return o.Commit(t.Context(), Message{Number: last}, sink.Position{Generation: 1, Offset: int64(last)},
		func([]wire.StreamID) []sink.StreamMark { return marks })
}

// After another owner's claim, nothing of the older owner comes into the journal.
func TestFence(t *testing.T) {
	ja, jb := journals(t)
	a := owned(t, ja, 5, "a")
	if err := commit(t, a, 10, "x", 100); err != nil {
		t.Fatal(err)
	}
	b := owned(t, jb, 9, "b")
	if err := commit(t, a, 20, "x", 200); !errors.Is(err, ErrFenced) || !a.Lost() {
		t.Errorf("the older owner committed: %v", err)
	}
	if err := commit(t, b, 15, "x", 150); err != nil {
		t.Error(err)
	}
	s, err := jb.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Last != 15 || s.Marks()[0].Offset != 150 || s.Tenures[0].To != "1:10" || s.Tenures[0].Last != 10 {
		t.Errorf("got %+v", s)
	}
	// A claim with an older revision comes too late, unless the bucket was made anew.
	if _, err := ja.claim(t.Context(), 7, "a", func(context.Context) error { return ErrFenced }); !errors.Is(err, ErrFenced) {
		t.Errorf("an older claim: %v", err)
	}
	if o := owned(t, ja, 7, "a"); o.Epoch != 10 {
		t.Errorf("in a new bucket, the epoch is %d, want 10", o.Epoch)
	}
}

// The owner knows its own entry again, whatever became of its acknowledgement.
func TestJournalUnsure(t *testing.T) {
	j, _ := journals(t)
	o := owned(t, j, 5, "a")
	write := func(last uint64) []byte {
		data, err := json.Marshal(&entry{Kind: kindCommit, Epoch: 5, Claim: j.claimed, Last: last, At: fmt.Sprintf("1:%d", last),
			Marks: []sink.StreamMark{{ID: "x", Offset: int64(last)}}})
		if err != nil {
			t.Fatal(err)
		}
		before := j.last
		if err := j.publish(t.Context(), data); err != nil {
			t.Fatal(err)
		}
		j.last = before // the acknowledgement was lost
		return data
	}
	for i, lost := range []uint64{10, 20} { // it repeats the entry, or writes another one
		write(lost)
		if err := commit(t, o, lost+uint64(5*i), "x", int64(lost)+int64(5*i)); err != nil {
			t.Fatalf("behind an entry of its own: %v", err)
		}
	}
	// The server loses the end.
	if err := j.stream.DeleteMsg(t.Context(), j.last); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, o, 30, "x", 30); err != nil {
		t.Fatalf("behind a journal that lost its end: %v", err)
	}
	s, err := j.read(t.Context())
	if err != nil || s.Last != 30 || s.Marks()[0].Offset != 30 {
		t.Errorf("got %+v, %v", s, err)
	}
	// All of it is gone.
	if err := j.stream.Purge(t.Context(), jetstream.WithPurgeSubject(j.subject)); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, o, 40, "x", 40); err != nil {
		t.Fatalf("behind a journal that was removed: %v", err)
	}
	if s, err = j.read(t.Context()); err != nil || s.Last != 40 || len(s.Tenures) != 1 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// When the stream of the journals is deleted, the owner says so, makes it again, and writes all.
func TestJournalDeleted(t *testing.T) {
	j, _ := journals(t)
	o := owned(t, j, 5, "a")
	if err := commit(t, o, 10, "x", 10); err != nil {
		t.Fatal(err)
	}
	if err := j.js.DeleteStream(t.Context(), "fanin-LOGS-journal"); err != nil {
		t.Fatal(err)
	}
	var late []error
	j.late = func(err error) { late = append(late, err) }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := o.Commit(ctx, Message{Number: 20}, sink.Position{Generation: 1, Offset: 20}, none); err != nil {
		t.Fatal(err)
	}
	if len(late) == 0 || !strings.Contains(late[0].Error(), "was deleted") {
		t.Errorf("it says %v", late)
	}
	s, err := j.read(t.Context())
	if err != nil || s.Last != 20 || len(s.Marks()) != 1 || len(s.Tenures) != 1 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// An entry that a stop interrupts is not said to be late: it is not tried again.
func TestJournalStopped(t *testing.T) {
	j, _ := journals(t)
	o := owned(t, j, 5, "a")
	j.late = func(err error) { t.Errorf("it says %v", err) }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Commit(ctx, Message{Number: 20}, sink.Position{Generation: 1, Offset: 20}, none); err == nil {
		t.Error("an entry was written after the stop")
	}
}

// A group that failed in its middle is not in the tenure when the partition is handed over. Before that,
// the next group's entry has its streams, too.
func TestReleaseBehindFailedGroup(t *testing.T) {
	j, _ := journals(t)
	o := owned(t, j, 5, "a")
	half, whole := wire.StreamID{1}, wire.StreamID{2}
	marks := func(ids []wire.StreamID) (list []sink.StreamMark) {
		for _, id := range ids {
			list = append(list, sink.StreamMark{ID: id.String(), Offset: 7})
		}
		return list
	}
	o.Moves([]wire.StreamID{half}) // and the group fails
	o.Moves([]wire.StreamID{whole})
	at := sink.Position{Generation: 1, Offset: 100}
	if err := o.Commit(t.Context(), Message{Number: 10}, at, marks); err != nil {
		t.Fatal(err)
	}
	o.Moves([]wire.StreamID{half})
	if err := o.release(t.Context(), sink.Position{Generation: 1, Offset: 130}); err != nil {
		t.Fatal(err)
	}
	s, err := j.read(t.Context())
	if err != nil || len(s.Marks()) != 2 || s.At != "1:100" || s.Tenures[0].To != "1:100" {
		t.Errorf("got %+v with the marks %+v, %v", s, s.Marks(), err)
	}
}

// The entry that takes more of a log into its tenure has the marks of that: an owner that dies behind
// it leaves nothing that the next one writes again.
func TestBeginHasMarks(t *testing.T) {
	j, other := journals(t)
	if err := commit(t, owned(t, j, 5, "a"), 10, "x", 10); err != nil {
		t.Fatal(err)
	}
	s, err := j.claim(t.Context(), 6, "a", mine)
	if err != nil {
		t.Fatal(err)
	}
	all := []sink.StreamMark{{ID: "x", Offset: 20}, {ID: "y", Offset: 5}}
	o := owning(j, s)
	if err := o.Begin(t.Context(), "aa", sink.Position{Generation: 1, Offset: 40},
		func() []sink.StreamMark { return all }, true); err != nil {
		t.Fatal(err)
	}
	if j.entries != 5 {
		t.Errorf("the journal has %d entries, want begin as the fifth, and none behind it", j.entries)
	}
	s, err = other.read(t.Context())
	if err != nil || s.Tenures[0].To != "1:10" || s.Tenures[1].From != "1:10" || !slices.EqualFunc(s.Marks(), all, func(a, b sink.StreamMark) bool {
		return a.Equal(&b)
	}) {
		t.Errorf("got %+v with the marks %+v, %v", s, s.Marks(), err)
	}
	s.apply(&entry{Kind: kindCommit, Marks: []sink.StreamMark{{ID: "z"}}})
	if more := s.differing(all); len(more) != 1 || more[0].ID != "z" || !more[0].Ended {
		t.Errorf("of a log without the stream z differ %+v", more)
	}
}

// A journal that was written anew says the same, in fewer entries.
func TestCompact(t *testing.T) {
	j, _ := journals(t)
	o := owned(t, j, 5, "a")
	all := make(map[string]int64)
	list := func() (marks []sink.StreamMark) {
		for id, offset := range all {
			marks = append(marks, sink.StreamMark{ID: id, Offset: offset})
		}
		return marks
	}
	o.all = list
	for i := range 2*compactAfter + 10 {
		id := fmt.Sprintf("s%d", i)
		all[id] = int64(i)
		if err := o.Commit(t.Context(), Message{Number: uint64(i)}, sink.Position{Generation: 1, Offset: int64(i)},
			func([]wire.StreamID) []sink.StreamMark { return []sink.StreamMark{{ID: id, Offset: int64(i)}} }); err != nil {
			t.Fatal(err)
		}
	}
	s, err := j.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Marks()) != len(all) || s.Last != 2*compactAfter+9 || len(s.Tenures) != 1 || s.Owner != "a" {
		t.Errorf("%d marks, want %d; last %d, tenures %+v", len(s.Marks()), len(all), s.Last, s.Tenures)
	}
	if j.entries > compactAfter {
		t.Errorf("the journal has %d entries", j.entries)
	}
}

var discard = slog.New(slog.DiscardHandler)
