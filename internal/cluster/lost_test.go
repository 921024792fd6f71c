package cluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natstest"
	"fanin/internal/wire"
	"fanin/sink"
)

// loseBehind removes what a journal has behind a message, as a server does that loses its end.
func loseBehind(t *testing.T, j *journal, sequence uint64) {
	t.Helper()
	last, err := j.stream.GetLastMsgForSubject(t.Context(), j.subject)
	if err != nil {
		t.Fatal(err)
	}
	for n := last.Sequence; n > sequence; n-- {
		if err := j.stream.DeleteMsg(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
}

func fenced(context.Context) error { return ErrFenced }

// When NATS loses another owner's claim, an owner that was replaced may find its place empty, and write its
// entry there. It does not answer what is in it, and the journal is the new owner's again with that
// one's next entry, whatever that is.
func TestClaimLost(t *testing.T) {
	for _, next := range []string{"commit", "release", "begin"} {
		t.Run(next, func(t *testing.T) {
			ja, jb := journals(t)
			a := owned(t, ja, 5, "a")
			if err := commit(t, a, 10, "x", 100); err != nil {
				t.Fatal(err)
			}
			end := ja.last
			s, err := jb.claim(t.Context(), 9, "b", mine)
			if err != nil {
				t.Fatal(err)
			}
			b := owning(jb, s)
			b.all = func() []sink.StreamMark { return []sink.StreamMark{{ID: "x", Offset: 150}} }
			begin := func() error { return b.Begin(t.Context(), "bb", sink.Position{Generation: 1}, b.all, false) }
			if next != "begin" {
				if err := begin(); err != nil {
					t.Fatal(err)
				}
			}
			loseBehind(t, jb, end)
			a.lease, a.owns = newLease(0), fenced
			if err := commit(t, a, 20, "x", 200); !errors.Is(err, ErrFenced) || !a.Lost() || ja.last <= end {
				t.Fatalf("the older owner answers what it wrote at %d: %v", ja.last, err)
			}
			switch next {
			case "commit":
				err = commit(t, b, 15, "x", 150)
			case "release":
				err = b.release(t.Context(), sink.Position{Generation: 1, Offset: 15})
			case "begin":
				err = begin()
			}
			if s, readErr := jb.read(t.Context()); err != nil || readErr != nil || s.Epoch != 9 || s.Tenures[0].To != "1:10" ||
				len(s.Tenures) != 2 || s.Tenures[1].Log != "bb" || s.Marks()[0].Offset != 150 {
				t.Errorf("got %+v with the marks %+v, %v, %v", s, s.Marks(), err, readErr)
			}
			if err := commit(t, a, 30, "x", 300); !errors.Is(err, ErrFenced) {
				t.Errorf("the older owner goes on: %v", err)
			}
		})
	}
}

// What a log has written by itself is made known, and an owner at rest finds that its entries are lost.
func TestBehind(t *testing.T) {
	j, _ := journals(t)
	o := owned(t, j, 5, "a")
	if err := commit(t, o, 10, "x", 100); err != nil {
		t.Fatal(err)
	}
	at := sink.Position{Generation: 1, Offset: 10}
	if o.Behind(t.Context(), at) {
		t.Error("the journal is said to be behind")
	}
	at.Offset = 30 // a notice
	if !o.Behind(t.Context(), at) {
		t.Error("a notice is not noticed")
	}
	if err := o.Commit(t.Context(), Message{}, at, none); err != nil {
		t.Fatal(err)
	}
	if s, err := j.read(t.Context()); err != nil || s.At != "1:30" || s.Last != 10 || len(s.Marks()) != 1 || o.Behind(t.Context(), at) {
		t.Errorf("got %+v, %v", s, err)
	}
	loseBehind(t, j, j.last-2)
	if o.Behind(t.Context(), at) {
		t.Error("the journal is looked at too often")
	}
	o.looked = time.Time{}
	if !o.Behind(t.Context(), at) {
		t.Error("a loss is not noticed")
	}
	if err := o.Commit(t.Context(), Message{}, at, none); err != nil {
		t.Fatal(err)
	}
	if s, err := j.read(t.Context()); err != nil || s.At != "1:30" || s.Last != 10 || s.Marks()[0].Offset != 100 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// An owner whose entries are lost asks the bucket before it writes, until that answers.
func TestLostAsksBucket(t *testing.T) {
	j, _ := journals(t)
	o := owned(t, j, 5, "a")
	if err := commit(t, o, 10, "x", 100); err != nil {
		t.Fatal(err)
	}
	loseBehind(t, j, j.last-1)
	asked := 0
	o.owns = func(context.Context) error {
		if asked++; asked == 1 {
			return errors.New("no answer")
		}
		return ErrFenced
	}
	if err := commit(t, o, 20, "x", 200); !errors.Is(err, ErrFenced) || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if s, err := j.read(t.Context()); err != nil || s.Last != 0 {
		t.Errorf("it wrote %+v, %v", s, err)
	}
}

// Two owners may have the same epoch: the bucket was deleted, and both claimed at the same moment. The
// second one does not take the first one's claim for its own.
func TestSameEpoch(t *testing.T) {
	ja, jb := journals(t)
	a := owned(t, ja, 6, "a")
	jb.epoch, jb.claimed = 6, "b" // it has read the journal before
	if err := jb.append(t.Context(), &entry{Kind: kindClaim, Owner: "b"}); !errors.Is(err, errLost) {
		t.Errorf("a claim of the same epoch: %v", err)
	}
	if err := commit(t, a, 10, "x", 100); err != nil {
		t.Errorf("the owner: %v", err)
	}
	if b := owned(t, jb, 6, "b"); b.Epoch != 7 {
		t.Errorf("the second owner has epoch %d", b.Epoch)
	}
	if err := commit(t, a, 20, "x", 200); !errors.Is(err, ErrFenced) {
		t.Errorf("the older owner: %v", err)
	}
}

// Entries of any size are written, with names of any bytes.
func TestLargeEntries(t *testing.T) {
	s := natstest.New(t, func(o *server.Options) { o.MaxPayload = 16 << 10 })
	js := s.JetStream(s.Connect())
	c := &Config{Name: "LOGS", Create: true, Replicas: 1}
	stream, err := openJournals(t.Context(), js, c)
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal(js, stream, c, 3)
	o := owned(t, j, 5, "a")
	var marks []sink.StreamMark
	for i := range 300 {
		marks = append(marks, sink.StreamMark{ID: wire.StreamID{byte(i), byte(i >> 8)}.String(), Agent: "a\xff\xfe", Host: "\x00<&>",
			Source: strings.Repeat("<", 600), Identity: []byte{0xff}, Offset: int64(i)})
	}
	o.all = func() []sink.StreamMark { return marks }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	at := sink.Position{Generation: 1, Offset: 9}
	if err := o.Commit(ctx, Message{Number: 9}, at, func([]wire.StreamID) []sink.StreamMark { return marks }); err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		state, err := j.read(t.Context())
		if err != nil || state.Last != 9 || len(state.Marks()) != len(marks) {
			t.Fatalf("%s: %d marks up to %d, %v", what, len(state.Marks()), state.Last, err)
		}
		for _, m := range state.Marks() {
			if want := &marks[m.Offset]; !m.Equal(want) {
				t.Fatalf("%s: got %+v, want %+v", what, &m, want)
			}
		}
	}
	check("a commit")
	if j.entries < 10 {
		t.Errorf("the journal has %d messages", j.entries)
	}
	if err := o.rewrite(ctx); err != nil {
		t.Fatal(err)
	}
	check("all marks")
	if m, err := j.stream.GetMsg(t.Context(), 1, jetstream.WithGetMsgSubject(j.subject)); err != nil || m.Sequence != j.first {
		t.Errorf("it begins at %+v, %v, and not at %d", m, err, j.first)
	}
}

// An entry whose end was not written is none, and what follows counts.
func TestPartsWithoutEnd(t *testing.T) {
	e := &entry{Kind: kindCommit, Epoch: 5, Claim: "x", Last: 7, At: strings.Repeat("1", 2000)}
	list, err := e.messages(600)
	if err != nil || len(list) < 3 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	read := func(list ...[]byte) (last []uint64) {
		t.Helper()
		var p parts
		for _, data := range list {
			if len(data) > 600 {
				t.Errorf("a message has %d bytes", len(data))
			}
			m, err := parseEntry(data)
			if err == nil {
				m, err = p.add(m)
			}
			if err != nil {
				t.Fatal(err)
			}
			if m != nil {
				last = append(last, m.Last)
			}
		}
		return last
	}
	whole := []byte(`{"kind":"commit","epoch":6,"last":8}`)
	for _, row := range []struct {
		list [][]byte
		want []uint64
	}{
		{list, []uint64{7}},
		{append(list[:1:1], list...), []uint64{7}},
		{append(list[:2:2], whole), []uint64{8}},
		{append([][]byte{whole}, list[1:]...), []uint64{8}},
		{append(append(list[:1:1], whole), list[1:]...), []uint64{8}},
	} {
		if got := read(row.list...); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: got %d, want %d", fmt.Sprintf("%.60q", row.list), got, row.want)
		}
	}
}
