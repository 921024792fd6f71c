// Package tail follows files and sends their lines, in batches, to one wire.Appender:
// each line once, in the file's order, whatever happens to the file, to this process or
// to the collector.
//
// What a tool that truncates files in place (logrotate's copytruncate) destroys between
// its copy and its truncation cannot be read. Everything before that is found in the
// copy.
package tail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/disk"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Tailer follows all files of its tables. Set the Settings, then call Run. Welcome may
// be called before Run and at any time after.
//
//   - mu guards the index, positions, echoes and lost. It is locked before
//     follower.mu and session.mu, never after them.
//   - Only Run's goroutine looks for files. lookout is its own.
//   - Each file that is followed is in the index, and each stream has at most one
//     follower.
type Tailer struct {
	Settings
	counts      counts
	pool        *pool
	descriptors *descriptors
	session     session
	lookout
	reloads
	strayed atomic.Bool // a file vanished, and its stream has no follower
	reused  reusedPaths
	rounds
	unpacking chan struct{} // a place for each archive that is read now
	running   sync.WaitGroup
	noHints   bool // for a simulated clock, which stands still while the kernel is listened to

	mu sync.Mutex
	index
	positions  *savedPositions
	began      time.Time         // when Run did; before that, there are no positions
	echoes     map[fileKey]bool  // files that grew only when their own lines were sent
	lost       []Lost            // by the stop
	unfollowed map[string]string // why files are not followed, by path
}

// rounds are done once for all followers that ask.
type rounds struct {
	shrinking shared[bool]        // see shrunkBeside
	listings  shared[[]candidate] // of directories
	looks     atomic.Int64        // how many looks at the files began
}

// lookout is what the search for files remembers. It belongs to Run's goroutine.
type lookout struct {
	limited *retry.Log
	first   bool                       // the very first run: nothing was ever followed
	looked  bool                       // the first look is done
	renewed bool                       // this look is the first one with its tables
	since   time.Time                  // when the last look began that saw everything; zero: none did
	skipped map[string]bool            // paths that were reported
	missing map[wire.StreamID]*absence // streams whose files cannot be found
	late    map[fileKey]int            // files of chains that are not followed yet, and for how many looks
	unfit   map[fileKey]version        // files that were refused
}

func (t *Tailer) defaults() {
	t.Settings.defaults()
	t.index = newIndex()
	t.lookout = lookout{limited: retry.NewLog(t.Log), skipped: make(map[string]bool),
		missing: make(map[wire.StreamID]*absence), unfit: make(map[fileKey]version)}
	t.echoes, t.unpacking = make(map[fileKey]bool), make(chan struct{}, unpackAtOnce)
	t.pool, t.descriptors = newPool(t.Memory), newDescriptors(t.Files, t.Log, &t.counts.closed)
}

// Run follows files until ctx ends. Then it waits for the files that no start would find
// and for the batches that were sent, and writes the saved positions.
func (t *Tailer) Run(ctx context.Context) error {
	t.mu.Lock()
	t.defaults()
	t.mu.Unlock()
	positions, first, err := openPositions(t.Disk, t.State, t.Log)
	if err != nil {
		return err
	}
	t.first = first
	t.mu.Lock()
	t.positions, t.began = positions, time.Now()
	t.mu.Unlock()
	if err := t.prepare(); err != nil {
		return err
	}
	if !t.Lossy {
		if err := t.awaitWelcome(ctx); err != nil {
			return err
		}
		if t.session.knowsMore(t.positions.all()) { // not the very first run, whatever the state says
			t.first = false
			t.positions.dropStarts()
		}
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { // at once, even while this goroutine is busy
		if files, _ := t.atRisk(); files == 0 {
			stop()
		}
	})()
	t.look(following) // a second one, by the loop, adds the hints
	t.seekMissing(following)
	t.looked = true
	err = t.loop(ctx, following)
	t.finish(following)
	stop()
	t.running.Wait()
	t.reportLost()
	if serr := t.positions.write(true); serr != nil {
		return fmt.Errorf("write the saved positions: %w", serr)
	}
	return err
}

// prepare does what does not depend on the collector, before one answers. It finds out
// which agent owns the streams, and where files begin that are followed from their end.
// Both are durable before anything is sent.
func (t *Tailer) prepare() error {
	was, streams, duplicates := t.positions.adopt(t.Agent)
	if streams > 0 {
		t.counts.doubled.Add(uint64(duplicates))
		t.Log.Warn("this state belonged to an agent with another id; "+
			"its files continue where they were, as new streams of this agent",
			"was", was, "agent", t.Agent, "files", streams, "maybe_doubled_bytes", duplicates)
	}
	if t.first {
		t.saveStarts()
	}
	err := t.positions.write(true)
	if errors.Is(err, fs.ErrNotExist) && t.Alive != nil { // the directory was deleted just now
		t.Alive() // makes it again
		if err = t.positions.write(true); errors.Is(err, fs.ErrNotExist) {
			return nil // it is being deleted still: each look makes it again and writes them
		}
	}
	if disk.IsFull(err) && !t.first && streams == 0 {
		return nil // those that are there still hold; sending may make room, if a spool fills the disk
	}
	if err != nil {
		return fmt.Errorf("write the saved positions: %w", err)
	}
	return nil
}

// saveStarts writes a saved position at the end of each file that exists now and is followed from
// its end.
func (t *Tailer) saveStarts() {
	tables := t.tables()
	for i := range tables {
		table := &tables[i]
		if !table.FromEnd {
			continue
		}
		s := &sight{dirs: make(map[string]bool), alive: t.Alive, lived: time.Now()}
		t.match(table, s, func(path string, _ *Table, _ int) { t.saveStart(path, table) })
	}
}

// saveStart writes a saved position at the end of a file.
func (t *Tailer) saveStart(path string, table *Table) {
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return
	}
	f, err := t.open(candidate{path: path, table: table, key: keyOf(fi), info: fi})
	if err != nil {
		return // the first look reports it
	}
	defer f.file.close()
	b := newLocalState()
	b.Point = f.file.lastLineEnd()
	t.positions.put(f.positionOf(wire.NewStreamID(), &b, 0))
}

// loop looks at the files again and again. Only polling is reliable. Where the kernel
// reports changes, polls are rarer, so that a thousand idle files cost nothing. The
// followers that loop starts end with the context following.
func (t *Tailer) loop(ctx, following context.Context) error {
	tick := time.NewTicker(t.Poll)
	defer tick.Stop()
	hints := new(hints)
	if !t.noHints {
		hints = newHints(t.wrote)
	}
	defer hints.close()
	pace, searched := pace{poll: t.Poll}, time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if t.Alive != nil {
			t.Alive()
		}
		hints.hear()
		t.lookWhenDue(following, &pace, hints)
		t.seekUnseen(following)
		again := min(missingEvery, t.Forget/4, t.LetGo/8)
		if t.strayed.Swap(false) || len(t.missing) > 0 && time.Since(searched) >= again {
			t.seekMissing(following)
			searched = time.Now()
		}
		t.wakeHidden()
		if err := t.positions.save(); err != nil {
			t.limited.Error("positions", "cannot write the saved positions; check the state directory and its disk: "+
				"if the collector loses its state meanwhile, lines may be sent twice", "err", err)
		}
	}
}

// lookWhenDue looks at the files if it is time, or if there are other tables.
func (t *Tailer) lookWhenDue(ctx context.Context, pace *pace, hints *hints) {
	if !t.reloaded.Load() && !pace.due(hints) {
		return
	}
	hints.stale = false
	s := t.look(ctx)
	hints.choose(t.shownByDir())
	pace.looked(s, hints)
	t.counts.watched.Store(uint64(len(hints.watched)))
	hints.stale = hints.stale || len(t.late) > 0
}

// missingEvery is the pause between two searches for missing files.
const missingEvery = time.Minute

// wakeHidden wakes the followers of files that no table names any more, or that were rotated:
// those files are done after some time, which no event announces.
func (t *Tailer) wakeHidden() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.followers {
		f.mu.Lock()
		hidden := !f.visible || !f.isDrained() && (!f.lost.IsZero() || f.isChained() && !f.rotated.IsZero())
		f.mu.Unlock()
		if hidden {
			f.notify()
		}
	}
}

// Abandon stops writing the saved positions: another agent owns their directory now.
func (t *Tailer) Abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.positions != nil {
		t.positions.abandon()
	}
}
