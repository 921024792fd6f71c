package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"testing"

	"fanin/internal/wire"
	"fanin/sink"
)

// entries are those of a partition with two owners, of which the first one dies.
func entries() []*entry {
	mark := sink.StreamMark{ID: "0102030405060708090a0b0c0d0e0f10", Kind: wire.StreamAgent,
		Own: "112233445566778899aabbccddeeff00", Agent: "web-1", Host: "web-1", Source: "nginx", Identity: []byte("inode 7"),
		Epoch: 1, Offset: 4096, Tail: 1 << 60}
	ended := sink.StreamMark{ID: "ff02030405060708090a0b0c0d0e0f10", Ended: true}
	return []*entry{
		{Kind: kindClaim, Epoch: 5, Claim: "1ab", Owner: "a"},
		{Kind: kindBegin, Epoch: 5, Claim: "1ab", Log: "aa", At: "1:0"},
		{Kind: kindCommit, Epoch: 5, Last: 12, Time: 7, At: "1:900", Marks: []sink.StreamMark{mark, ended}},
		{Kind: kindClaim, Epoch: 9, Owner: "b"},
		{Kind: kindBegin, Epoch: 9, Log: "bb", At: "2:10"},
		{Kind: kindRelease, Epoch: 9, At: "2:10"},
	}
}

// The entries of a journal have the form that they always had.
func TestEntryFormat(t *testing.T) {
	var got []byte
	odd := sink.StreamMark{ID: "0102030405060708090a0b0c0d0e0f10", Agent: "\xff", Source: "a<b",
		Identity: bytes.Repeat([]byte("x"), 300)}
	whole := &entry{Kind: kindMarks, Epoch: 9, Claim: "2cd", At: "2:10", Marks: []sink.StreamMark{odd}}
	for i, e := range append(entries(), whole, whole) {
		most := 1 << 20
		if i > len(entries()) {
			most = 400 // in parts
		}
		list, err := e.messages(most)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range list {
			got = append(append(got, b...), '\n')
		}
	}
	const path = "testdata/journal.golden"
	if os.Getenv("UPDATE") != "" {
		os.MkdirAll("testdata", 0o755)
		os.WriteFile(path, got, 0o644)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// The state that follows from entries has a tenure for each owner, and ends that of a dead owner at
// its last entry.
func TestState(t *testing.T) {
	s := new(State)
	for _, e := range entries() {
		s.apply(e)
	}
	want := []Tenure{
		{Epoch: 5, Owner: "a", Log: "aa", From: "1:0", To: "1:900", First: 1, Last: 12, LastTime: 7, End: Taken},
		{Epoch: 9, Owner: "b", Log: "bb", From: "2:10", To: "2:10", First: 13, Last: 12, LastTime: 7, End: Moved},
	}
	if !reflect.DeepEqual(s.Tenures, want) || s.Epoch != 9 || s.Owner != "" || len(s.Marks()) != 1 {
		t.Errorf("got %+v", s)
	}
	// The same log goes on: what it has behind its last entry is no other log's.
	s.apply(&entry{Kind: kindClaim, Epoch: 10, Owner: "b"})
	s.apply(&entry{Kind: kindBegin, Epoch: 10, Log: "bb", At: "2:70"})
	if got := s.Tenures[1].To; got != "2:70" {
		t.Errorf("the tenure of the log that goes on ends at %s, want 2:70", got)
	}
}

// A journal in which all marks are in several entries, of which the first one has all else, is read as well.
// If the owner died between these, the marks are those of before, and what there is of the others.
func TestMarksInParts(t *testing.T) {
	marks := make([]sink.StreamMark, 300)
	for i := range marks {
		marks[i] = sink.StreamMark{ID: fmt.Sprintf("%032x", i), Offset: int64(i)}
	}
	first := &entry{Kind: kindMarks, Epoch: 5, Owner: "a", Log: "aa", Last: 12, At: "1:900",
		Tenures: []Tenure{{Epoch: 5, Owner: "a", Log: "aa", From: "1:0"}}}
	parts := []*entry{first, {Kind: kindMarks, Epoch: 5, Marks: marks[:256]}, {Kind: kindMarks, Epoch: 5, Marks: marks[256:]}}
	for n := 1; n <= len(parts); n++ {
		s := new(State)
		s.apply(&entry{Kind: kindClaim, Epoch: 5, Owner: "a"})
		s.apply(&entry{Kind: kindCommit, Epoch: 5, Last: 12, At: "1:900", Marks: marks})
		for _, e := range parts[:n] {
			s.apply(e)
		}
		if len(s.Marks()) != len(marks) || len(s.Tenures) != 1 || s.Log != "aa" || s.At != "1:900" || s.Last != 12 ||
			s.Owner != "a" || s.Epoch != 5 {
			t.Errorf("after %d entries: %d marks, %+v", n, len(s.Marks()), s)
		}
	}
}

func FuzzEntry(f *testing.F) {
	for _, e := range entries() {
		b, _ := json.Marshal(e)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEntry(data)
		if err != nil {
			return
		}
		s := new(State)
		s.apply(e)
		s.apply(e)
		s.Marks()
	})
}
