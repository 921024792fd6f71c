// Package tail follows files and gives their lines, in batches, to one
// wire.Appender: each line once, in the file's order, whatever becomes of the
// file, this process or the other side.
//
// What a tool that truncates files in place (logrotate's copytruncate) destroys
// between its copy and its truncation, cannot be read; everything before is
// found in the copy.
package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// Tailer follows all files of its tables. Set the fields, then Run. Zero fields
// take the defaults named.
type Tailer struct {
	Tables     []Table
	State      string        // directory of the marks; required
	Out        wire.Appender // takes the lines; required
	Agent      string        // the id under which Out sends: whose the streams are
	Lossy      bool          // Out answers nothing: do not wait for a Welcome, number the lines
	Poll       time.Duration // between two looks at the files; default 250 ms
	Grace      time.Duration // how long a rotated file may still get lines, and its last line its end; default 5 s
	LetGo      time.Duration // how long a renamed file that no table names is watched; default 10 min
	Forget     time.Duration // how long a file must be missing from its directory until its stream ends; default 24 h
	Settle     time.Duration // how long a file that begins like another one may be its copy in the making; default 10 s
	Refused    time.Duration // until what the collector refused is tried again, each time twice as long up to 64 times, or until the next welcome; default 1 min
	StopWait   time.Duration // how long a stop waits for the rest of files that no start would find; default 10 s
	MaxLine    int           // longer lines are split; default wire.MaxLine
	BatchBytes int           // of text in a batch; default 1 MiB
	Memory     int64         // for batches on their way; default 12 MiB
	Files      int           // open at a time; default what the process's limit leaves beside a reserve
	Log        *slog.Logger  // default: discard
	Alive      func()        // called at each look; makes the state directory again where it was deleted
	Disk       *disk.Disk    // nil: the real one

	counts      counts
	pool        *pool
	descriptors *descriptors
	strayed     atomic.Bool // a file vanished whose stream has no follower now
	marks       *marks
	first       bool // the very first run: nothing was ever followed
	looked      bool // the first look is done

	mu        sync.Mutex
	followers map[fileKey]*Follower
	claims    map[wire.StreamID]*Follower // the follower of each stream
	byPath    map[string]*Follower        // the newest file that bore the name
	skipped   map[string]bool             // said already; Run's own
	missing   map[wire.StreamID]*absence  // Run's own
	handed    []handed
	beside    map[string][]*Follower // by directory; a list is replaced, or grows, but never changes
	welcome   *wire.Welcome
	maxText   int                                 // of a batch in this session; 0: there was no welcome
	streams   map[wire.StreamID]*wire.StreamState // of the welcome, but those that ended since
	welcomed  chan struct{}                       // closed at the first welcome
	welcomes  atomic.Int64                        // how many there were
	renewed   chan struct{}                       // closed at the next welcome; nil: nothing waits for it
	echoes    map[fileKey]bool                    // files that grew with what was sent of them alone
	lost      []Lost                              // by the stop
	running   sync.WaitGroup
	shrinking shared[bool]        // see shrunkBeside
	listings  shared[[]candidate] // of directories
}

// counts is what the tailer counts.
type counts struct {
	lines, bytes, split, truncated, skipped, refused, doubled, vanished, unfit, unseen, unsure, replaced, missing, holes, wide, closed atomic.Uint64
}

// fileKey tells files apart while they are open or there.
type fileKey struct{ device, inode uint64 }

func keyOf(fi fs.FileInfo) fileKey { return fileKey{disk.Device(fi), disk.Inode(fi)} }

func (t *Tailer) defaults() {
	t.Poll = cmp.Or(t.Poll, 250*time.Millisecond)
	t.Grace = cmp.Or(t.Grace, 5*time.Second)
	t.LetGo = cmp.Or(t.LetGo, 10*time.Minute)
	t.Forget = cmp.Or(t.Forget, 24*time.Hour)
	t.Settle = cmp.Or(t.Settle, 10*time.Second)
	t.Refused = cmp.Or(t.Refused, time.Minute)
	t.StopWait = cmp.Or(t.StopWait, 10*time.Second)
	t.MaxLine = cmp.Or(t.MaxLine, wire.MaxLine)
	t.BatchBytes = cmp.Or(t.BatchBytes, 1<<20)
	t.Memory = cmp.Or(t.Memory, 12<<20)
	if t.Log == nil {
		t.Log = slog.New(slog.DiscardHandler)
	}
	t.followers, t.byPath = make(map[fileKey]*Follower), make(map[string]*Follower)
	t.beside = make(map[string][]*Follower)
	t.claims, t.skipped = make(map[wire.StreamID]*Follower), make(map[string]bool)
	t.missing, t.echoes = make(map[wire.StreamID]*absence), make(map[fileKey]bool)
	t.pool, t.descriptors = newPool(t.Memory), newDescriptors(t.Files, t.Log, &t.counts.closed)
}

// Run follows until ctx ends; then it waits for what no start would find and for
// what is on its way, and writes the marks.
func (t *Tailer) Run(ctx context.Context) error {
	t.mu.Lock()
	t.defaults()
	if t.welcomed == nil {
		t.welcomed = make(chan struct{})
	}
	t.mu.Unlock()
	marks, first, err := openMarks(t.Disk, t.State, t.Log)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.marks, t.first = marks, first
	t.mu.Unlock()
	if err := t.prepare(); err != nil {
		return err
	}
	if !t.Lossy {
		if err := t.awaitWelcome(ctx); err != nil {
			return err
		}
		if t.forgotten() {
			t.first = false
			t.marks.dropStarts()
		}
	}
	before := t.known()
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { // at once, whatever this goroutine does just now
		if files, _ := t.perishing(); files == 0 {
			stop()
		}
	})()
	t.look(following) // a second one, by the loop, adds the hints
	t.seekMissing(following)
	t.handedMeanwhile(before)
	t.looked = true
	err = t.loop(ctx, following)
	t.finish(following)
	stop()
	t.running.Wait()
	t.reportLost()
	if serr := t.marks.write(true); serr != nil {
		return fmt.Errorf("write the marks: %w", serr)
	}
	return err
}

// prepare settles what does not depend on the collector, before it is met: whose
// the streams are, and where files begin that are followed from their end. Both
// are durable before anything is sent.
func (t *Tailer) prepare() error {
	if was, streams, doubt := t.marks.adopt(t.Agent); streams > 0 {
		t.counts.doubled.Add(uint64(doubt))
		t.Log.Warn("this state belonged to an agent of another id; its files go on where they stood, as new streams of this one",
			"was", was, "agent", t.Agent, "files", streams, "maybe_doubled_bytes", doubt)
	}
	if t.first {
		t.markStarts()
	}
	err := t.marks.write(true)
	if errors.Is(err, fs.ErrNotExist) && t.Alive != nil { // the directory was deleted just now
		t.Alive() // makes it again
		err = t.marks.write(true)
	}
	if err != nil {
		return fmt.Errorf("write the marks: %w", err)
	}
	return nil
}

// forgotten reports whether the collector knows streams of this agent that the
// marks do not: then this is no very first start, whatever the state says.
func (t *Tailer) forgotten() bool {
	marks := t.marks.all()
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.streams {
		if marks[id] == nil {
			return true
		}
	}
	return false
}

// markStarts marks the ends of the files that are there now and are followed
// from their end.
func (t *Tailer) markStarts() {
	for i := range t.Tables {
		table := &t.Tables[i]
		if !table.FromEnd {
			continue
		}
		for _, path := range t.match(table, &sight{dirs: make(map[string]bool)}) {
			fi, err := os.Stat(path)
			if err != nil || !fi.Mode().IsRegular() {
				continue
			}
			f, err := t.open(candidate{path, table, keyOf(fi), fi})
			if err != nil {
				continue // the first look says so
			}
			b := newLocalState()
			b.Point = f.file.lastLineEnd()
			t.marks.put(f.markOf(wire.NewStreamID(), &b, 0))
			f.file.close()
		}
	}
}

// awaitWelcome waits for the collector's word on where the streams stand. That may
// take days, and is no reason to take the agent for dead.
func (t *Tailer) awaitWelcome(ctx context.Context) error {
	tick := time.NewTicker(t.Poll)
	defer tick.Stop()
	for {
		select {
		case <-t.welcomed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if t.Alive != nil {
				t.Alive()
			}
		}
	}
}

// loop looks at the files again and again. Polling is the truth. Where the
// kernel says by itself what changes, it is done less often: a thousand idle
// files shall cost nothing. Followers that it starts end with following.
func (t *Tailer) loop(ctx, following context.Context) error {
	tick := time.NewTicker(t.Poll)
	defer tick.Stop()
	hints := newHints()
	defer hints.close()
	pace, sought := pace{poll: t.Poll}, time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-hints.events():
			if !ok {
				hints.close()
			}
			t.hint(hints, e)
			continue
		case <-hints.errors():
			hints.stale = true
			continue
		case <-tick.C:
		}
		if t.Alive != nil {
			t.Alive()
		}
		if pace.due(hints) {
			hints.stale = false
			pace.looked(t.look(following), hints)
		}
		t.seekUnseen(following)
		if t.strayed.Swap(false) || len(t.missing) > 0 && time.Since(sought) >= min(missingEvery, t.Forget/4) {
			t.seekMissing(following)
			sought = time.Now()
		}
		t.pokeHidden()
		if err := t.marks.save(); err != nil && t.marks.saySave() {
			t.Log.Error("cannot write the marks; if the collector loses its state too, lines may be sent twice", "err", err)
		}
	}
}

// missingEvery is how often missing files are looked for in their directories.
const missingEvery = time.Minute

// pokeHidden wakes the followers of files that no table names any more: only
// time tells when those are done.
func (t *Tailer) pokeHidden() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.followers {
		f.mu.Lock()
		hidden := !f.visible
		f.mu.Unlock()
		if hidden {
			f.poke()
		}
	}
}

// Welcome tells the tailer what a collector answered at the start of a session, and the
// most text that a batch may have in this session.
func (t *Tailer) Welcome(w wire.Welcome, maxText int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maxText = maxText
	t.welcomes.Add(1)
	if t.renewed != nil {
		close(t.renewed)
		t.renewed = nil
	}
	t.welcome, t.streams = &w, make(map[wire.StreamID]*wire.StreamState, len(w.Streams))
	for i := range w.Streams {
		t.streams[w.Streams[i].Stream] = &w.Streams[i]
	}
	if t.welcomed == nil {
		t.welcomed = make(chan struct{})
	}
	select {
	case <-t.welcomed:
	default:
		close(t.welcomed)
	}
}

// Known is a welcome with what the marks know of the log: for a way out that may
// be gone while no collector answers. It waits for Run to have read them.
func (t *Tailer) Known() wire.Welcome {
	var w wire.Welcome
	t.mu.Lock()
	marks := t.marks
	t.mu.Unlock()
	if marks == nil {
		return w
	}
	for _, m := range marks.all() {
		w.Log, w.Incarnation = m.Life.log, m.Life.incarnation
	}
	return w
}

// Abandon has the marks written no more: their directory has become another agent's.
func (t *Tailer) Abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.marks != nil {
		t.marks.abandon()
	}
}

// batchText returns the most text that a batch may have in the session now.
func (t *Tailer) batchText() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cmp.Or(t.maxText, wire.MaxText)
}

// look finds new files and tells each follower where its file is seen now.
func (t *Tailer) look(ctx context.Context) *sight {
	seen := make(map[fileKey]candidate)
	var order []candidate
	began := time.Now()
	s := &sight{dirs: make(map[string]bool), whole: true}
	for i := range t.Tables {
		for _, path := range t.match(&t.Tables[i], s) {
			fi, err := os.Stat(path)
			if err != nil || !t.regular(path, fi) {
				continue
			}
			c := candidate{path, &t.Tables[i], keyOf(fi), fi}
			if _, ok := seen[c.key]; !ok { // else the same file under another name
				seen[c.key] = c
				order = append(order, c)
			}
		}
	}
	s.took = time.Since(began)
	t.beginAll(ctx, order)
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, f := range t.followers {
		c, visible := seen[key]
		f.see(c, visible)
		if visible {
			t.nameLocked(f, c.path)
		}
	}
	return s
}

// nameLocked notes that a follower's file bears a name.
func (t *Tailer) nameLocked(f *Follower, path string) {
	before := t.byPath[path]
	if before == f {
		return
	}
	t.byPath[path] = f
	f.names = append(f.names, path)
	if before != nil && path != f.path && f.mayBeCopy() {
		f.mu.Lock()
		f.ousted = before
		f.mu.Unlock()
	}
}

// candidate is a file that a table names.
type candidate struct {
	path  string
	table *Table
	key   fileKey
	info  fs.FileInfo
}

// match lists the files of a table, in order.
func (t *Tailer) match(table *Table, s *sight) (paths []string) {
	for _, pattern := range table.Paths {
		found, err := s.glob(pattern)
		if err != nil {
			t.once(pattern, "a pattern that cannot be: "+err.Error())
		}
		for _, path := range found {
			if !table.Excludes(path) {
				paths = append(paths, path) // perhaps twice: each file is followed once
			}
		}
	}
	return paths
}

func (t *Tailer) regular(path string, fi fs.FileInfo) bool {
	if fi.Mode().IsRegular() {
		return true
	}
	if !fi.IsDir() {
		t.refuse(path, errors.New("it is no regular file"))
	}
	return false
}

// once logs something about a path the first time only, and reports whether this
// was it.
func (t *Tailer) once(path, text string) bool {
	if t.skipped[path] {
		return false
	}
	t.skipped[path] = true
	t.Log.Warn(text, "path", path)
	return true
}

// beginAll starts to follow the files among these that are not followed yet. All
// are looked up by their identity before any is by its content, so that no copy
// takes the stream of a file that is there.
func (t *Tailer) beginAll(ctx context.Context, order []candidate) {
	var fresh []*Follower
	for _, c := range order {
		t.mu.Lock()
		known := t.followers[c.key] != nil
		t.mu.Unlock()
		if known {
			continue
		}
		f, err := t.open(c)
		switch {
		case isUnfit(err):
			t.refuse(c.path, err)
			continue
		case err != nil:
			t.once(c.path, "cannot be followed: "+err.Error())
			continue
		}
		delete(t.skipped, c.path)
		fresh = append(fresh, f)
	}
	if len(fresh) == 0 {
		return
	}
	slices.SortStableFunc(fresh, func(a, b *Follower) int { return a.modified.Compare(b.modified) }) // rotated ones first
	t.identify(fresh)
	t.start(ctx, fresh...)
}

// start runs followers, but those whose file has one by now. None looks around
// before all are there: else a copy could find nothing that it is a copy of.
func (t *Tailer) start(ctx context.Context, all ...*Follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range all {
		if t.followers[f.key] != nil {
			f.file.close()
			continue
		}
		if f.before = t.byPath[f.path]; f.before != nil {
			t.handOnLocked(f.path, f.before.file.modified(f.before.modified))
		}
		t.startLocked(ctx, f)
	}
}

// startLocked runs a follower on a goroutine, which ends with ctx or when its
// file is gone and drained.
func (t *Tailer) startLocked(ctx context.Context, f *Follower) {
	t.followers[f.key] = f
	t.nameLocked(f, f.path)
	t.beside[f.dir] = append(t.beside[f.dir], f)
	t.running.Go(func() {
		f.follow(ctx)
		t.ended(ctx, f)
	})
}

// drop forgets a follower that ended.
func (t *Tailer) drop(f *Follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.followers[f.key] == f {
		delete(t.followers, f.key)
	}
	t.beside[f.dir] = slices.DeleteFunc(slices.Clone(t.beside[f.dir]), func(g *Follower) bool { return g == f })
	for _, path := range f.names {
		if t.byPath[path] == f {
			delete(t.byPath, path)
		}
	}
	if t.claims[f.place.stream] == f {
		delete(t.claims, f.place.stream)
	}
	f.drain()
	f.file.close()
}

// open makes a follower for a file.
func (t *Tailer) open(c candidate) (*Follower, error) {
	file, err := t.descriptors.openFile(c.path)
	if err != nil {
		return nil, err
	}
	fi, err := file.f.Stat()
	if err != nil || keyOf(fi) != c.key {
		file.close()
		return nil, cmp.Or(err, fmt.Errorf("it was replaced just now"))
	}
	if err := cmp.Or(file.checkFit(c.path), t.checkOwn(file, c.path), t.checkEcho(c.key)); err != nil {
		file.close()
		return nil, err
	}
	file.decoder = c.table.decoder()
	real, err := filepath.EvalSymlinks(c.path)
	if err != nil || real == c.path {
		real = ""
	}
	f := &Follower{t: t, table: c.table, key: c.key, file: file, wake: make(chan struct{}, 1),
		location:   location{path: c.path, real: real, dir: filepath.Dir(c.path), source: c.table.source(c.path)},
		sighting:   sighting{visible: true, now: c.path, modified: fi.ModTime()},
		succession: succession{drained: make(chan struct{})}}
	f.place.start(wire.StreamID{}, newLocalState())
	return f, nil
}
