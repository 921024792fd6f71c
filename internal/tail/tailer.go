// Package tail follows files and gives their lines, in batches, to one
// wire.Appender: each line once, in the file's order, whatever becomes of the
// file, this process or the other side.
//
// What a tool that truncates files in place (logrotate's copytruncate) destroys
// between its copy and its truncation, cannot be read; everything before is
// found in the copy.
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

	"fanin/internal/wire"
)

// Tailer follows all files of its tables. Set the Settings, then Run. A Welcome may
// come before, and at any time after.
//
//   - mu guards the index, marks, handed, echoes and lost. It is taken before
//     Follower.mu and session.mu, never after them.
//   - Run's goroutine alone looks for files, and owns what says so.
//   - Each file that is followed is in the index, and each stream has at most one
//     follower.
type Tailer struct {
	Settings
	counts      counts
	pool        *pool
	descriptors *descriptors
	session     session
	lookout
	strayed   atomic.Bool         // a file vanished whose stream has no follower now
	shrinking shared[bool]        // see shrunkBeside
	listings  shared[[]candidate] // of directories
	running   sync.WaitGroup

	mu sync.Mutex
	index
	marks  *marks
	handed []handed
	echoes map[fileKey]bool // files that grew with what was sent of them alone
	lost   []Lost           // by the stop
}

// lookout is what the search for files remembers. Run's own.
type lookout struct {
	first   bool                       // the very first run: nothing was ever followed
	looked  bool                       // the first look is done
	skipped map[string]bool            // paths that were reported
	missing map[wire.StreamID]*absence // streams whose files cannot be found
}

func (t *Tailer) defaults() {
	t.Settings.defaults()
	t.index = newIndex()
	t.lookout = lookout{skipped: make(map[string]bool), missing: make(map[wire.StreamID]*absence)}
	t.echoes = make(map[fileKey]bool)
	t.pool, t.descriptors = newPool(t.Memory), newDescriptors(t.Files, t.Log, &t.counts.closed)
}

// Run follows until ctx ends; then it waits for what no start would find and for
// what is on its way, and writes the marks.
func (t *Tailer) Run(ctx context.Context) error {
	t.mu.Lock()
	t.defaults()
	t.mu.Unlock()
	marks, first, err := openMarks(t.Disk, t.State, t.Log)
	if err != nil {
		return err
	}
	t.first = first
	t.mu.Lock()
	t.marks = marks
	t.mu.Unlock()
	if err := t.prepare(); err != nil {
		return err
	}
	if !t.Lossy {
		if err := t.awaitWelcome(ctx); err != nil {
			return err
		}
		if t.session.knowsMore(t.marks.all()) { // no very first run, whatever the state says
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

// Abandon has the marks written no more: their directory has become another agent's.
func (t *Tailer) Abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.marks != nil {
		t.marks.abandon()
	}
}
