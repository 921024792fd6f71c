package appendertest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"fanin/internal/wire"
)

// Memory is the reference Appender: it keeps everything in memory, by the same
// rules as the sink, and can be made to wait and to fail. The zero value
// is ready for use, by any number of goroutines.
type Memory struct {
	// Before is called before a batch is looked at. It may wait; its error is
	// Append's, and nothing was kept.
	Before func(ctx context.Context, b wire.Batch) error

	// After is called with what became of a batch, and what it returns is
	// Append's: an error in place of nil is an ack that got lost.
	After func(ctx context.Context, b wire.Batch, outcome error) error

	// Log and Incarnation are those of the Welcome.
	Log, Incarnation wire.StreamID

	mu      sync.Mutex
	streams map[wire.StreamID]*memoryStream // by wire.StreamID.Owned
	order   []*memoryStream                 // as they were first met
	keys    map[wire.StreamID]*memoryKey
	kept    []wire.Batch
	repeats int
	gap     int64
	change  chan struct{} // closed at the next change; nil: no goroutine waits
}

var _ wire.Appender = (*Memory)(nil)

// memoryStream is what is left to know of a stream besides its batches.
type memoryStream struct {
	kind        wire.StreamKind
	agent, host string
	wire.StreamState
	known bool // opened, and not ended
	lines int64
}

// Append keeps b as wire.Appender promises. It looks at ctx only before.
func (m *Memory) Append(ctx context.Context, b wire.Batch) error {
	if m.Before != nil {
		if err := m.Before(ctx, b); err != nil {
			return err
		}
	}
	outcome := ctx.Err()
	if outcome == nil {
		outcome = m.take(b)
	}
	if m.After != nil {
		return m.After(ctx, b, outcome)
	}
	return outcome
}

func (m *Memory) take(b wire.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.change != nil {
		close(m.change)
		m.change = nil
	}
	switch {
	case b.Stream.IsZero():
		m.keep(b)
		return nil
	case b.Kind == wire.StreamLossy:
		m.takeLossy(b)
		return nil
	case b.Kind == wire.StreamKey:
		return m.takeKey(b)
	}
	s := m.streams[b.Stream.Owned(b.Kind, b.Agent)]
	if s == nil {
		s = &memoryStream{} // not known yet, and not remembered unless b opens it
	}
	if s.repeats(&b) {
		m.repeats++
		return nil
	}
	if !s.fits(&b) {
		return s.expected()
	}
	m.move(b)
	return nil
}

// repeats reports whether b was kept already.
func (s *memoryStream) repeats(b *wire.Batch) bool {
	switch b.Op {
	case wire.OpEnd:
		return !s.known
	case wire.OpOpen: // keeping it again costs nothing and renews the names
		return false
	}
	return s.known && !s.at(b.Epoch, b.Offset, b.Before) && s.at(b.Epoch, b.End, b.After)
}

// fits reports whether b continues the stream at its position.
func (s *memoryStream) fits(b *wire.Batch) bool {
	if b.Op == wire.OpOpen && (!s.known || b.Epoch == s.Epoch+1) {
		return true
	}
	return s.known && s.at(b.Epoch, b.Offset, b.Before)
}

func (s *memoryStream) at(epoch uint32, offset int64, tail wire.Hash) bool {
	return s.Epoch == epoch && s.Offset == offset && s.Tail == tail
}

func (s *memoryStream) expected() *wire.Expected {
	if !s.known {
		return &wire.Expected{}
	}
	return &wire.Expected{Known: true, Watermark: s.mark()}
}

func (s *memoryStream) mark() wire.Watermark {
	w := s.Watermark
	w.Trail = slices.Clone(w.Trail)
	return w
}

// move keeps b and moves its stream's watermark.
func (m *Memory) move(b wire.Batch) {
	s := m.stream(&b)
	if b.Op == wire.OpOpen {
		s.agent, s.host, s.Source, s.Identity = b.Agent, b.Host, b.Source, slices.Clone(b.Identity)
		if !s.known || b.Epoch != s.Epoch {
			s.Trail = nil
		}
	} else if s.Offset > 0 && b.End > s.Offset {
		s.Trail = append(s.Trail, s.Point)
		if len(s.Trail) > wire.MaxTrail {
			s.Trail = slices.Delete(s.Trail, 1, 2) // the oldest reaches furthest back
		}
	}
	s.known = b.Op != wire.OpEnd
	s.Epoch, s.Point = b.Epoch, wire.Point{Offset: b.End, Tail: b.After}
	m.keep(b)
}

// memoryKey is a request with a key.
type memoryKey struct {
	content wire.Hash
	wire.Point
}

func (m *Memory) takeKey(b wire.Batch) error {
	k := m.keys[b.Stream]
	switch {
	case k == nil && b.Offset > 0:
		return &wire.Expected{}
	case k == nil:
		if m.keys == nil {
			m.keys = make(map[wire.StreamID]*memoryKey)
		}
		k = &memoryKey{content: b.Key.Content}
		m.keys[b.Stream] = k
	case k.content != b.Key.Content:
		return wire.ErrOtherContent
	case b.End < k.Offset || b.End == k.Offset && b.After == k.Tail:
		b.Key.Repeat = true
		m.repeats++
		return nil
	case b.End == k.Offset, b.Offset == k.Offset && (b.Before != k.Tail || k.Tail == k.content):
		return wire.ErrOtherContent
	case b.Offset != k.Offset:
		return &wire.Expected{Known: true, Watermark: wire.Watermark{Point: k.Point}}
	}
	k.Point = wire.Point{Offset: b.End, Tail: b.After}
	m.keep(b)
	return nil
}

// ForgetKeys forgets all requests with a key, but not their text.
func (m *Memory) ForgetKeys() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.keys)
}

// takeLossy accepts every batch: it keeps what arrives, and counts what is missing.
func (m *Memory) takeLossy(b wire.Batch) {
	s := m.stream(&b)
	if s.known && (b.Epoch < s.Epoch || b.Epoch == s.Epoch && b.Offset < s.Offset) {
		m.repeats++
		return
	}
	if s.known && b.Epoch == s.Epoch && b.FirstLine > s.lines {
		m.gap += b.FirstLine - s.lines
	}
	s.known = true
	s.agent, s.host, s.Source = b.Agent, b.Host, b.Source
	s.Epoch, s.Offset = b.Epoch, b.End
	s.lines = b.FirstLine + int64(bytes.Count(b.Text, []byte{'\n'}))
	m.keep(b)
}

// stream finds a stream, or begins to remember it.
func (m *Memory) stream(b *wire.Batch) *memoryStream {
	id := b.Stream.Owned(b.Kind, b.Agent)
	s := m.streams[id]
	if s == nil {
		if m.streams == nil {
			m.streams = make(map[wire.StreamID]*memoryStream)
		}
		s = &memoryStream{kind: b.Kind, StreamState: wire.StreamState{Stream: b.Stream}}
		m.streams[id] = s
		m.order = append(m.order, s)
	}
	return s
}

func (m *Memory) keep(b wire.Batch) {
	b.Text, b.Identity = slices.Clone(b.Text), slices.Clone(b.Identity)
	b.Cuts, b.Marks = slices.Clone(b.Cuts), slices.Clone(b.Marks)
	m.kept = append(m.kept, b)
}

// Kept is every batch that was taken, opens, skips and ends too, in the order of
// their commits. Repeats are not among them, but for opens.
func (m *Memory) Kept() []wire.Batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.kept)
}

// Text is all text kept of a stream, over all its epochs, also after its end.
// The zero id asks for the anonymous lines.
func (m *Memory) Text(stream wire.StreamID) []byte {
	return m.text(func(b *wire.Batch) bool { return b.Stream == stream })
}

// Lines is Text, line by line, without the newlines.
func (m *Memory) Lines(stream wire.StreamID) []string { return lines(m.Text(stream)) }

// SourceLines is the lines kept of all streams whose source is called so now,
// and of anonymous batches that name it.
func (m *Memory) SourceLines(source string) []string {
	return lines(m.text(func(b *wire.Batch) bool {
		if s := m.streams[b.Stream.Owned(b.Kind, b.Agent)]; s != nil {
			return s.Source == source
		}
		return b.Source == source
	}))
}

func (m *Memory) text(want func(*wire.Batch) bool) (text []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.kept {
		if want(&m.kept[i]) {
			text = append(text, m.kept[i].Text...)
		}
	}
	return text
}

func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// Streams is the ids of all streams ever opened, in that order.
func (m *Memory) Streams() []wire.StreamID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []wire.StreamID
	for _, s := range m.order {
		ids = append(ids, s.Stream)
	}
	return ids
}

// State is a stream's position; not known: never opened, or ended.
func (m *Memory) State(stream wire.StreamID) (state wire.StreamState, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.order {
		if s.Stream == stream && s.known {
			return s.state(), true
		}
	}
	return wire.StreamState{}, false
}

func (s *memoryStream) state() wire.StreamState {
	state := s.StreamState
	state.Watermark = s.mark()
	return state
}

// Welcome is what a collector would send to an agent: its streams.
func (m *Memory) Welcome(agent string) wire.Welcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := wire.Welcome{Log: m.Log, Incarnation: m.Incarnation}
	for _, s := range m.order {
		if s.known && s.agent == agent && s.kind == wire.StreamAgent {
			w.Streams = append(w.Streams, s.state())
		}
	}
	return w
}

// Forget loses all watermarks, as a collector does whose state was deleted. What
// was kept stays kept.
func (m *Memory) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.streams {
		s.known, s.Watermark = false, wire.Watermark{}
	}
}

// Repeats counts batches that were acknowledged again.
func (m *Memory) Repeats() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.repeats
}

// Gap counts lines of lossy streams that never came.
func (m *Memory) Gap() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gap
}

// Until waits until done returns true, and calls it again after each batch. done may
// call the methods above. The error is ctx's.
func (m *Memory) Until(ctx context.Context, done func() bool) error {
	for {
		m.mu.Lock()
		if m.change == nil {
			m.change = make(chan struct{})
		}
		change := m.change
		m.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
