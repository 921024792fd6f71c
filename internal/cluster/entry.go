package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fanin/sink"
)

// entry is an entry of a partition's journal, JSON:
//
//	claim    an owner begins: entries of lower epochs are refused from now on
//	begin    it has opened its log: its tenure begins at the position At, and the streams of which
//	         the log has more than the journal are at Marks
//	commit   its log has all messages up to Last; its position is At, and the streams that were
//	         moved are at Marks
//	release  it hands over: its tenure ends at At
//	tenures  those before its own are these: what was in a log that was lost is in another one
//	marks    all that the journal says, with the marks of all streams: entries before it may be
//	         removed. Without At, it has some of the marks alone: releases that have no Claim
//	         wrote them in several entries
//	part     a part of an entry that is too large for one message, see parts
type entry struct {
	Kind    string            `json:"kind"`
	Epoch   uint64            `json:"epoch"`
	Claim   string            `json:"claim,omitempty"` // random: where NATS lost data, an epoch may come twice
	Owner   string            `json:"owner,omitempty"`
	Log     string            `json:"log,omitempty"`
	Last    uint64            `json:"last,omitempty"`
	Time    uint64            `json:"time,omitempty"` // of the last message, in nanoseconds since 1970
	At      string            `json:"at,omitempty"`
	Marks   []sink.StreamMark `json:"marks,omitempty"`
	Tenures []Tenure          `json:"tenures,omitempty"`
	More    bool              `json:"more,omitempty"` // of begin: the log goes on, with more than the journal has
	Part    int               `json:"part,omitempty"` // from 1 on
	Parts   int               `json:"parts,omitempty"`
	Data    []byte            `json:"data,omitempty"`
}

// The kinds of entries.
const (
	kindClaim   = "claim"
	kindBegin   = "begin"
	kindCommit  = "commit"
	kindRelease = "release"
	kindTenures = "tenures"
	kindMarks   = "marks"
	kindPart    = "part"
)

// parseEntry reads an entry.
func parseEntry(data []byte) (*entry, error) {
	e := new(entry)
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("an entry of the journal cannot be read: %w", err)
	}
	switch e.Kind {
	case kindClaim, kindBegin, kindCommit, kindRelease, kindTenures, kindMarks, kindPart:
		return e, nil
	}
	return nil, fmt.Errorf("an entry of the journal is of the unknown kind %q: a newer version wrote it", e.Kind)
}

// whole reports whether an entry has all that the journal says.
func (e *entry) whole() bool { return e.Kind == kindMarks && e.At != "" }

// State is what the journal says of a partition.
type State struct {
	Epoch   uint64 // of the last claim
	Owner   string // "": it was handed over
	Log     string // of the last tenure
	Last    uint64 // the log has all messages up to this one
	Time    uint64 // when the stream got that
	At      string // the position of the last entry in that log
	Tenures []Tenure
	marks   map[string]sink.StreamMark
}

// apply adds an entry.
func (s *State) apply(e *entry) {
	s.move(e)
	if s.marks == nil || e.whole() && e.Claim != "" {
		s.marks = make(map[string]sink.StreamMark)
	}
	for _, m := range e.Marks {
		if m.Ended {
			delete(s.marks, m.ID)
		} else {
			s.marks[m.ID] = m
		}
	}
}

// move is apply without the marks, which an owner's log has.
func (s *State) move(e *entry) {
	switch e.Kind {
	case kindClaim:
		s.Tenures = closeLast(s.Tenures, s.At, Message{s.Last, s.Time}, Taken)
		s.Epoch, s.Owner = e.Epoch, e.Owner
	case kindBegin:
		from := e.At
		if e.More && e.Log == s.Log { // the end of the last tenure is final: groups of workers may be behind it
			from = s.At
		}
		s.Tenures = open(s.Tenures, Tenure{Epoch: e.Epoch, Owner: s.Owner, Log: e.Log, From: from, First: s.Last + 1})
		s.Log, s.At = e.Log, e.At
	case kindCommit:
		if s.At = e.At; e.Last > s.Last || e.Time > s.Time { // a stream that lost its end has lower numbers again
			s.Last, s.Time = e.Last, e.Time
		}
	case kindRelease:
		s.At = e.At
		s.Tenures = closeLast(s.Tenures, e.At, Message{s.Last, s.Time}, Moved)
		s.Owner = ""
	case kindTenures:
		s.Tenures = e.Tenures
	case kindMarks:
		if !e.whole() {
			return
		}
		s.Epoch, s.Owner, s.Log, s.At, s.Tenures = e.Epoch, e.Owner, e.Log, e.At, e.Tenures
		s.Last, s.Time = e.Last, e.Time
	}
}

// Marks are the marks of all streams that go on.
func (s *State) Marks() []sink.StreamMark {
	byID := func(a, b sink.StreamMark) int { return strings.Compare(a.ID, b.ID) }
	return slices.SortedFunc(maps.Values(s.marks), byID)
}

// differing are those of all marks of a log that the journal does not have so.
func (s *State) differing(all []sink.StreamMark) (marks []sink.StreamMark) {
	if all == nil {
		return nil
	}
	gone := maps.Clone(s.marks)
	for i := range all {
		known, ok := gone[all[i].ID]
		delete(gone, all[i].ID)
		if !ok || !known.Equal(&all[i]) {
			marks = append(marks, all[i])
		}
	}
	for id := range gone {
		marks = append(marks, sink.StreamMark{ID: id, Ended: true})
	}
	return marks
}
