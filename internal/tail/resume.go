package tail

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// belief is what this side holds for true of a stream: from its mark, or from
// what was acked since.
type belief struct {
	wire.Point
	epoch uint32
	trail []wire.Point // earlier points, ascending
	lines int64
	log   logID // whose acks it rests on
	fresh bool  // nothing was ever sent
}

// logID names a life of a log: marks are believed only across a change of it.
type logID struct{ log, incarnation wire.StreamID }

// leaveTrail remembers the place that is about to be left, if it is far enough
// from the one before.
func (b *belief) leaveTrail(next int64) {
	const step = 64 << 10
	if b.Offset == 0 || len(b.trail) > 0 && b.Offset-b.trail[len(b.trail)-1].Offset < step || next == b.Offset {
		return
	}
	b.trail = append(b.trail, b.Point)
	if len(b.trail) > wire.MaxTrail {
		b.trail = slices.Delete(b.trail, 1, 2) // the oldest one stays: it serves the largest losses
	}
}

// plan is how to go on with a stream.
type plan struct {
	epoch  uint32
	base   wire.Point
	skip   *wire.Point // behind the open, skip to here: it is in the log already
	reason string      // of the skip
	doubt  int64       // bytes that may be in the log already
}

// decide says where to go on. own is what this side believes, theirs is the
// collector's watermark (nil: it does not know the stream), same whether it is
// the life of the log that own rests on, size the file's, and holds tells
// whether a place is in the file as it is now.
//
// The collector's watermark is the truth of what is in the log. Only when the
// log changed its life is the mark believed where it is ahead: the log had more
// once than it remembers. If the file does not hold the place, its past changed:
// a new epoch begins at the last place that it still holds, or at its start.
func decide(own belief, theirs *wire.Watermark, same bool, size int64, holds func(wire.Point) bool) plan {
	if theirs == nil {
		return decideUnknown(own, same, holds)
	}
	ahead := !same && !own.fresh && (own.epoch > theirs.Epoch || own.epoch == theirs.Epoch && own.Offset > theirs.Offset) && holds(own.Point)
	switch {
	case ahead && own.epoch == theirs.Epoch && holds(theirs.Point):
		return plan{epoch: theirs.Epoch, base: theirs.Point, skip: &own.Point, reason: "kept in an earlier life of the log"}
	case ahead:
		return plan{epoch: theirs.Epoch + 1, base: own.Point}
	case holds(theirs.Point):
		return plan{epoch: theirs.Epoch, base: theirs.Point}
	}
	base := lastHeld(slices.Concat(own.trail, theirs.Trail), holds)
	p := plan{epoch: theirs.Epoch + 1, base: base}
	if base.Offset > 0 {
		p.doubt = min(size, theirs.Offset) - base.Offset
	}
	return p
}

// decideUnknown is for a stream that the collector does not know.
func decideUnknown(own belief, same bool, holds func(wire.Point) bool) plan {
	held := holds(own.Point)
	switch {
	case own.fresh, same && held:
		return plan{epoch: own.epoch, base: own.Point}
	case held:
		return plan{epoch: own.epoch, skip: &own.Point, reason: "kept in an earlier life of the log"}
	}
	return plan{epoch: own.epoch + 1, base: lastHeld(own.trail, holds)}
}

// lastHeld is the furthest of some points that the file holds, its start if none.
func lastHeld(points []wire.Point, holds func(wire.Point) bool) (last wire.Point) {
	for _, p := range points {
		if p.Offset > last.Offset && holds(p) {
			last = p
		}
	}
	return last
}

// resume makes the other side and this one agree where the stream goes on.
func (f *Follower) resume(ctx context.Context) error {
	f.claim()
	if f.t.Lossy {
		return f.resumeLossy()
	}
	id, theirs := f.t.watermark(f.stream)
	same := f.belief.log == id
	switch {
	case f.answer != nil && f.answer.Known:
		theirs = &f.answer.Watermark
	case f.answer != nil:
		theirs = nil
	case same && !f.belief.fresh && (theirs == nil || behind(theirs, &f.belief)):
		// The welcome is older than what was acked since.
		theirs = &wire.Watermark{Epoch: f.belief.epoch, Point: f.belief.Point, Trail: f.belief.trail}
	}
	f.answer = nil
	holds := once(f.file.holds)
	if f.handedOver(ctx, theirs, holds) {
		return errTruncated
	}
	p := decide(f.belief, theirs, same, f.file.size(), holds)
	if err := f.open(ctx, p); err != nil {
		return err
	}
	return f.begin(p, id)
}

// once looks at each place a single time: a file that is truncated between two
// looks must not be whole to one and changed to the other.
func once(holds func(wire.Point) bool) func(wire.Point) bool {
	seen := make(map[wire.Point]bool)
	return func(p wire.Point) bool {
		held, ok := seen[p]
		if !ok {
			held = holds(p)
			seen[p] = held
		}
		return held
	}
}

// handedOver looks for a copy if the file no longer holds what was acked of it,
// and reports whether the stream went there: then this file begins a new one.
func (f *Follower) handedOver(ctx context.Context, theirs *wire.Watermark, holds func(wire.Point) bool) bool {
	acked := f.belief
	if theirs != nil {
		acked.Point, acked.epoch = theirs.Point, theirs.Epoch
	}
	if acked.fresh || holds(acked.Point) {
		return false
	}
	return f.lookForCopy(ctx, acked)
}

func behind(w *wire.Watermark, b *belief) bool {
	return w.Epoch < b.epoch || w.Epoch == b.epoch && w.Offset < b.Offset
}

// open opens the stream as planned, and skips what is in the log already.
func (f *Follower) open(ctx context.Context, p plan) error {
	err := f.t.Out.Append(ctx, wire.Batch{Op: wire.OpOpen, Stream: f.stream, Epoch: p.epoch, Offset: p.base.Offset, End: p.base.Offset,
		Before: p.base.Tail, After: p.base.Tail, Source: f.source, Identity: f.identity()})
	if err != nil || p.skip == nil || p.skip.Offset == p.base.Offset {
		return err
	}
	f.t.counts.skipped.Add(uint64(p.skip.Offset - p.base.Offset))
	return f.t.Out.Append(ctx, wire.Batch{Op: wire.OpSkip, Stream: f.stream, Epoch: p.epoch, Offset: p.base.Offset, End: p.skip.Offset,
		Before: p.base.Tail, After: p.skip.Tail, Reason: p.reason})
}

// begin takes the agreed place for acked.
func (f *Follower) begin(p plan, id logID) error {
	at := p.base
	if p.skip != nil {
		at = *p.skip
	}
	if p.doubt > 0 {
		f.t.counts.doubled.Add(uint64(p.doubt))
		f.t.Log.Warn("the file lost bytes that were sent; it goes on at the last place that is unchanged, so lines may be in the log twice",
			"path", f.path, "from", at.Offset, "bytes", p.doubt)
	}
	if p.epoch != f.belief.epoch {
		f.belief.trail = nil
	}
	c, err := f.file.cursorAt(at.Offset, f.belief.lines)
	if err != nil {
		return err
	}
	f.belief.trail = slices.DeleteFunc(f.belief.trail, func(p wire.Point) bool { return p.Offset >= at.Offset })
	f.belief.Point, f.belief.epoch, f.belief.log, f.belief.fresh = c.Point, p.epoch, id, false
	f.moveTo(c)
	return nil
}

// resumeLossy goes on from the mark alone.
func (f *Follower) resumeLossy() error {
	p := plan{epoch: f.belief.epoch, base: f.belief.Point}
	if !f.belief.fresh && !f.file.holds(f.belief.Point) {
		p = plan{epoch: f.belief.epoch + 1, base: lastHeld(f.belief.trail, f.file.holds)}
		f.belief.lines = 0
	}
	return f.begin(p, logID{})
}

// lookForCopy is for a file that no longer holds what was acked of it. A tool
// that copies a file and truncates it leaves what was not sent yet in the copy:
// the stream then goes on there, for it names those bytes, and this file begins
// a new one. Without a copy the stream goes on here, in a new epoch.
func (f *Follower) lookForCopy(ctx context.Context, acked belief) bool {
	f.t.counts.truncated.Add(1)
	copied := f.t.findCopy(f, acked.Point)
	if copied == nil || !f.t.handOver(ctx, f, copied, acked) {
		f.t.Log.Info("file was truncated; it goes on at the last place that is unchanged, or at its start", "path", f.path, "sent", acked.Offset)
		return false
	}
	f.t.Log.Info("file was copied and truncated; what was not sent is read from the copy", "path", f.path, "copy", copied.path, "sent", acked.Offset)
	f.belief, f.pos, f.answer, f.last = newBelief(), cursor{}, nil, false
	f.mu.Lock()
	f.stream, f.acked, f.sent = wire.NewStreamID(), wire.Point{}, wire.Point{}
	f.mu.Unlock()
	return true
}

func newBelief() belief { return belief{epoch: 1, fresh: true} }

// findCopy finds the sibling that holds what this file held: one that nobody
// follows, or whose follower waits to see whether it is a copy.
func (t *Tailer) findCopy(f *Follower, acked wire.Point) *Follower {
	if acked.Offset == 0 {
		return nil
	}
	entries, err := os.ReadDir(f.dir())
	if err != nil {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(f.dir(), e.Name())
		fi, err := os.Stat(path)
		key := fileKey{}
		if err == nil {
			key = fileKey{disk.Device(fi), disk.Inode(fi)}
		}
		if err != nil || !fi.Mode().IsRegular() || key == f.key || slices.Contains(packed, filepath.Ext(path)) || fi.Size() < acked.Offset {
			continue
		}
		t.mu.Lock()
		g := t.followers[key]
		t.mu.Unlock()
		own := g == nil
		if own {
			if g, err = t.open(candidate{path, f.table, key, fi}); err != nil {
				continue
			}
			g.visible, g.turning, g.source = false, true, f.source
			if !t.names(path) {
				g.origin = f.label() // where the next start looks for it
			}
		}
		if g.isTurning() && g.file.holds(acked) {
			return g
		}
		if own {
			g.file.close()
		}
	}
	return nil
}

// handOver gives f's stream to the follower of the copy, unless that has begun
// to send meanwhile. g may not run yet; if the tailer found the same file just
// now, its follower is the one.
func (t *Tailer) handOver(ctx context.Context, f, g *Follower, acked belief) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	running := t.followers[g.key]
	if running != nil && running != g {
		g.file.close()
		g = running
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.turning || g.given != nil {
		return false
	}
	g.stream, g.given = f.stream, &acked
	delete(t.claims, f.stream)
	t.marks.put(g.markOf(f.stream, &acked)) // should this process end before g goes on
	if running == nil {
		t.startLocked(ctx, g)
	}
	g.poke()
	return true
}

// looksLikeCopy reports whether the file begins like another one that is
// followed and lies beside it, as far as both go.
func (t *Tailer) looksLikeCopy(f *Follower) bool {
	head := f.file.head(1 << 10)
	if len(head) == 0 {
		return false
	}
	t.mu.Lock()
	var others []*Follower
	for _, g := range t.followers {
		if g != f && g.dir() == f.dir() {
			others = append(others, g)
		}
	}
	t.mu.Unlock()
	for _, g := range others {
		if g.shrunk() {
			return true // its follower looks for the copy just now
		}
		if g.file.size() >= f.file.size() && !g.isTurning() && bytes.Equal(g.file.head(len(head)), head) {
			return true
		}
	}
	return false
}

// shrunk reports whether the file no longer holds what was sent of it, acked or not.
func (f *Follower) shrunk() bool {
	f.mu.Lock()
	sent := f.sent
	f.mu.Unlock()
	return sent.Offset > 0 && !f.file.holds(sent)
}

// claim says that this follower has the stream, making one where it has none.
func (f *Follower) claim() {
	f.mu.Lock()
	if f.given != nil {
		f.belief, f.given = *f.given, nil
	}
	if f.stream.IsZero() {
		f.stream = wire.NewStreamID()
	}
	id := f.stream
	f.mu.Unlock()
	f.t.mu.Lock()
	f.t.claims[id] = f
	f.t.mu.Unlock()
}

// watermark is what the last welcome said of a stream.
func (t *Tailer) watermark(id wire.StreamID) (logID, *wire.Watermark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.welcome == nil {
		return logID{}, nil
	}
	life := logID{t.welcome.Log, t.welcome.Incarnation}
	for i := range t.welcome.Streams {
		if s := &t.welcome.Streams[i]; s.Stream == id {
			w := s.Watermark
			return life, &w
		}
	}
	return life, nil
}

// identify finds the streams that new files belong to: by what they are first,
// and then, for those that no state knows, by what is in them.
func (t *Tailer) identify(fresh []*Follower) {
	known := t.known()
	for _, f := range fresh {
		if m := f.find(known, f.sameFile); m != nil {
			f.take(m, known)
		}
	}
	for _, f := range fresh {
		if !f.stream.IsZero() {
			continue
		}
		if m := f.find(known, func(m *mark) bool { return t.sameContent(f, m, fresh) }); m != nil {
			f.take(m, known)
			continue
		}
		f.belief, f.turning = newBelief(), !t.first || t.looked
		if f.table.FromEnd && t.first && !t.looked {
			f.belief.Point = f.file.lastLineEnd()
		}
	}
}

// known lists the streams that marks and the collector know, and nobody follows.
func (t *Tailer) known() map[wire.StreamID]*mark {
	known := t.marks.all()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.welcome != nil {
		life := logID{t.welcome.Log, t.welcome.Incarnation}
		for i := range t.welcome.Streams {
			s := &t.welcome.Streams[i]
			known[s.Stream] = merge(known[s.Stream], s, life)
		}
	}
	for id := range t.claims {
		delete(known, id)
	}
	return known
}

// merge is what both sides together know of a stream. A mark is a little older
// than what was acked when its process was killed; then the collector knows better.
func merge(m *mark, s *wire.StreamState, life logID) *mark {
	switch {
	case m == nil:
		m = &mark{Stream: s.Stream, Epoch: s.Epoch, Point: s.Point, Trail: s.Trail, Life: life}
		m.identity, _ = parseIdentity(s.Identity)
	case s.Epoch > m.Epoch || s.Epoch == m.Epoch && s.Offset > m.Offset:
		newer := *m // marks are replaced, never changed
		newer.Epoch, newer.Point, newer.Trail, newer.Life = s.Epoch, s.Point, s.Trail, life
		m = &newer
	}
	return m
}

// find returns the mark that fits best, nil when none does: one whose place the
// file still holds before one that it does not, and then the furthest.
func (f *Follower) find(known map[wire.StreamID]*mark, fits func(*mark) bool) (found *mark) {
	held := false
	for _, m := range known {
		if !fits(m) {
			continue
		}
		holds := f.file.holds(m.Point)
		if found == nil || holds && !held || holds == held && m.Offset > found.Offset {
			found, held = m, holds
		}
	}
	return found
}

// sameFile reports whether a mark is of this very file. Its inode alone does not
// prove that; its handle does, and so do inode and content together.
func (f *Follower) sameFile(m *mark) bool {
	if len(f.file.handle) > 0 && len(m.handle) > 0 {
		return bytes.Equal(f.file.handle, m.handle) && m.device == f.key.device
	}
	return m.device == f.key.device && m.inode == f.key.inode && (m.Offset == 0 || f.file.holds(m.Point))
}

// sameContent reports whether a new file is what a mark stands behind: its file
// is gone, or was truncated after a copy. Little content of a file that is gone
// proves little: many files begin alike.
func (t *Tailer) sameContent(f *Follower, m *mark, fresh []*Follower) bool {
	if m.Offset == 0 || !f.file.holds(m.Point) {
		return false
	}
	return m.Offset >= 1<<10 && t.gone(m) || t.displaced(m, fresh)
}

// displaced reports whether the file that a mark is of is there and no longer
// holds what was sent of it.
func (t *Tailer) displaced(m *mark, fresh []*Follower) bool {
	t.mu.Lock()
	all := slices.Clone(fresh)
	for _, f := range t.followers {
		all = append(all, f)
	}
	t.mu.Unlock()
	return slices.ContainsFunc(all, func(f *Follower) bool { return f.sameFile(m) && !f.file.holds(m.Point) })
}

// gone reports whether the file that a mark is of is not where it was.
func (t *Tailer) gone(m *mark) bool {
	fi, err := os.Stat(m.path)
	return err != nil || disk.Inode(fi) != m.inode
}

// take makes a mark's stream this follower's.
func (f *Follower) take(m *mark, known map[wire.StreamID]*mark) {
	f.stream = m.Stream
	f.belief = belief{Point: m.Point, epoch: m.Epoch, trail: m.Trail, lines: m.Lines, log: m.Life}
	f.acked, f.sent = m.Point, m.Point
	if _, w := f.t.watermark(m.Stream); w != nil && !behind(w, &f.belief) {
		f.sent = w.Point // the last ack never came
	}
	delete(known, m.Stream)
	f.t.mu.Lock()
	f.t.claims[m.Stream] = f
	f.t.mu.Unlock()
}

// findRotated finds files that got another name while nobody followed them,
// beside where they were. What is not found may be back later: its mark stays.
func (t *Tailer) findRotated(ctx context.Context) {
	for _, m := range t.known() {
		if m.path == "" {
			continue
		}
		f, err := t.rotated(m)
		switch {
		case err == nil:
			f.take(m, map[wire.StreamID]*mark{})
			t.Log.Info("file was renamed meanwhile; its rest is read", "was", m.path, "path", f.path)
			t.start(ctx, f)
		case errors.Is(err, errVanished):
			t.counts.vanished.Add(1)
			t.Log.Warn("file is gone; if lines were written to it behind this offset, they are lost", "path", m.path, "offset", m.Offset)
		}
	}
}

var errVanished = errors.New("nowhere to be found")

// rotated opens the file of a mark under the name it has now.
func (t *Tailer) rotated(m *mark) (*Follower, error) {
	if _, err := os.Stat(m.path); err == nil && !t.gone(m) {
		return nil, errors.New("it is there, and no table names it")
	}
	entries, err := os.ReadDir(filepath.Dir(m.path))
	if err != nil {
		return nil, errVanished
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() || disk.Inode(fi) != m.inode {
			continue
		}
		path := filepath.Join(filepath.Dir(m.path), e.Name())
		f, err := t.open(candidate{path, t.tableOf(m.path), fileKey{disk.Device(fi), disk.Inode(fi)}, fi})
		if err != nil {
			continue
		}
		if f.sameFile(m) {
			f.visible, f.origin = false, m.path
			f.source = strings.TrimSuffix(filepath.Base(m.path), ".log")
			if f.table.Source != "" {
				f.source = f.table.Source
			}
			return f, nil
		}
		f.file.close()
	}
	return nil, errVanished
}

// tableOf is the table that names a path, or one without wishes.
func (t *Tailer) tableOf(path string) *Table {
	for i := range t.Tables {
		for _, p := range t.Tables[i].Paths {
			if ok, _ := filepath.Match(p, path); ok {
				return &t.Tables[i]
			}
		}
	}
	return &Table{}
}

// lastLineEnd is the place behind the last whole line.
func (f *file) lastLineEnd() wire.Point {
	end := f.size()
	for end > 0 {
		from := max(0, end-64<<10)
		b := make([]byte, end-from)
		if _, err := f.f.ReadAt(b, from); err != nil {
			break
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			c, err := f.cursorAt(from+int64(i)+1, 0)
			if err != nil {
				break
			}
			return c.Point
		}
		end = from
	}
	return wire.Point{}
}
