package sink

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"reflect"

	"fanin/internal/wire"
)

// StreamMark is how far a log has a stream, and what an open of the stream would say: with the
// marks of all streams, another log continues where this one ended, see Adopt. Ids are 32
// hexadecimal digits.
type StreamMark struct {
	ID       string          `json:"id"` // by which the log's records name the stream
	Kind     wire.StreamKind `json:"kind,omitempty"`
	Own      string          `json:"own,omitempty"` // as its owner calls it
	Agent    string          `json:"agent,omitempty"`
	Address  string          `json:"address,omitempty"`
	Host     string          `json:"host,omitempty"`
	Source   string          `json:"source,omitempty"`
	Identity []byte          `json:"identity,omitempty"`
	Epoch    uint32          `json:"epoch,omitempty"`
	Offset   int64           `json:"offset,omitempty"`
	Tail     uint64          `json:"tail,omitempty"`
	Ended    bool            `json:"ended,omitempty"` // the log knows no such stream any more
}

// Equal reports whether two marks say the same.
func (m *StreamMark) Equal(x *StreamMark) bool {
	a, b := *m, *x
	a.Identity, b.Identity = nil, nil
	return bytes.Equal(m.Identity, x.Identity) && reflect.DeepEqual(a, b)
}

// mark is the mark of a stream that is known.
func (st *stream) mark() StreamMark {
	n := st.names()
	return StreamMark{ID: st.id.String(), Kind: n.kind, Own: n.own.String(), Agent: n.agent, Address: n.address,
		Host: n.host, Source: n.source, Identity: []byte(n.identity), Epoch: st.Epoch, Offset: st.Offset,
		Tail: uint64(st.Tail)}
}

// Marks are the marks of the streams with these ids, in their order.
func (s *Sink) Marks(ids []wire.StreamID) []StreamMark {
	marks := make([]StreamMark, 0, len(ids))
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, id := range ids {
		if st := s.view.catalog.streams[id]; st != nil {
			marks = append(marks, st.mark())
		} else {
			marks = append(marks, StreamMark{ID: id.String(), Ended: true})
		}
	}
	return marks
}

// AllMarks are the marks of all streams that can be sent again.
func (s *Sink) AllMarks() (marks []StreamMark) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, st := range s.view.catalog.streams {
		if !st.lossy() {
			marks = append(marks, st.mark())
		}
	}
	return marks
}

// OnClose has each file that is closed told to f, with the marks of all streams at its end, before the
// log is opened. f is called by the writer, and must not wait for it.
func (s *Sink) OnClose(f func(generation uint64, marks []StreamMark)) { s.onClose = f }

// MarksPath is where the marks at the end of a generation may be written: the file is removed with the
// generation.
func (s *Sink) MarksPath(generation uint64) string { return marksName(s.State, generation) }

func marksName(dir string, generation uint64) string {
	return filepath.Join(dir, fmt.Sprintf("marks-%08d", generation))
}

// Settled is the position behind the lines of every batch that was answered until now.
func (s *Sink) Settled(ctx context.Context) (at Position, err error) {
	err = s.do(ctx, func(w *writer) error {
		at = Position{w.file.generation, w.file.size}
		return nil
	})
	return at, err
}

// Adopt makes the streams of the log those of marks, as another log left them: a stream goes on
// from its mark, also if this log stood behind it, or ahead of it; a stream without a mark ends.
// Nothing may be appended to streams meanwhile.
func (s *Sink) Adopt(ctx context.Context, marks []StreamMark) error {
	wanted := make(map[wire.StreamID]bool)
	list := make([]adopted, 0, len(marks))
	for i := range marks {
		if marks[i].Ended {
			continue
		}
		a, err := marks[i].adopted()
		if err != nil {
			return fmt.Errorf("adopt the streams of another log: %w", err)
		}
		wanted[a.record.stream] = true
		list = append(list, a)
	}
	return s.do(ctx, func(w *writer) error { return w.adopt(list, wanted) })
}

// adopted is an open that puts a stream where its mark is.
type adopted struct {
	record record
	names  names
}

func (m *StreamMark) adopted() (a adopted, err error) {
	a.record = record{epoch: m.Epoch, op: wire.OpOpen, offset: m.Offset, end: m.Offset, after: wire.Hash(m.Tail)}
	a.names = names{kind: m.Kind, agent: m.Agent, address: m.Address, host: m.Host, source: m.Source,
		identity: string(m.Identity)}
	if a.record.stream, err = wire.ParseStreamID(m.ID); err != nil {
		return a, err
	}
	a.names.own, err = wire.ParseStreamID(m.Own)
	return a, err
}

func (w *writer) adopt(list []adopted, wanted map[wire.StreamID]bool) error {
	var ended []*stream
	for id, st := range w.catalog.streams {
		if !wanted[id] && !st.lossy() {
			ended = append(ended, st)
		}
	}
	if err := w.endAll(ended); err != nil {
		return err
	}
	for i := range list {
		a := &list[i]
		st := w.catalog.streams[a.record.stream]
		if st == nil {
			w.group.count(origin{kind: a.names.kind, agent: a.names.agent, address: a.names.address}, 1)
		} else if st.Epoch == a.record.epoch && st.Offset == a.record.end && st.Tail == a.record.after {
			continue
		}
		w.group.streams[a.record.stream] = true
		w.group.names = append(w.group.names, a.names)
		w.group.records = append(w.group.records, a.record)
		if w.group.full() {
			if err := w.commit(); err != nil {
				return err
			}
		}
	}
	return w.commit()
}
