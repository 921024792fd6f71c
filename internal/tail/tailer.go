// Package tail follows files and gives their lines, in batches, to one
// wire.Appender: each line once, in the file's order, whatever becomes of the
// file, this process or the other side.
//
// What a tool that truncates files in place (logrotate's copytruncate) destroys
// between its copy and its truncation, nobody can read; everything before is
// found in the copy.
package tail

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// Tailer follows all files of its tables. Set the fields, then Run. Zero fields
// take the defaults named.
type Tailer struct {
	Tables     []Table
	State      string        // directory of the marks; required
	Out        wire.Appender // who takes the lines; required
	Lossy      bool          // Out answers nothing: do not wait for a Welcome, number the lines
	Poll       time.Duration // between two looks at the files; default 250 ms
	Grace      time.Duration // how long a rotated file may still get lines, and its last line its end; default 5 s
	LetGo      time.Duration // how long a renamed file that no table names is watched; default 10 min
	Settle     time.Duration // how long a file that begins like another one may be its copy in the making; default 10 s
	StopWait   time.Duration // how long a stop waits for the rest of files that no start would find; default 10 s
	MaxLine    int           // longer lines are split; default wire.MaxLine
	BatchBytes int           // of text in a batch; default 1 MiB
	Memory     int64         // for batches on their way; default 12 MiB
	Files      int           // open at a time; default what the process's limit leaves beside a reserve
	Log        *slog.Logger  // default: discard
	Alive      func()        // called at each look
	Disk       *disk.Disk    // nil: the real one

	counts      counts
	pool        *pool
	descriptors *descriptors
	marks       *marks
	first       bool // the very first run: nothing was ever followed
	looked      bool // the first look is done

	mu        sync.Mutex
	followers map[fileKey]*Follower
	claims    map[wire.StreamID]*Follower // who follows a stream
	byPath    map[string]*Follower        // the newest file that bore the name
	skipped   map[string]bool             // said already
	welcome   *wire.Welcome
	welcomed  chan struct{} // closed at the first welcome
	lost      []Lost        // by the stop
	running   sync.WaitGroup
}

// Table says which files to follow, and how.
type Table struct {
	Paths      []string // patterns as of filepath.Match
	Exclude    []string // patterns, of the whole path or the base name
	FromEnd    bool     // files that are there at the very first start are followed from their end
	Source     string   // what the lines are said to come from; default: the base name without .log
	SyncSource bool     // make the source durable before its lines are sent
}

// counts is what the tailer counts.
type counts struct {
	lines, bytes, split, truncated, skipped, refused, doubled, vanished, holes, wide, closed atomic.Uint64
}

// fileKey tells files apart while they are open or there.
type fileKey struct{ device, inode uint64 }

// packed are files that rotation compressed: their lines were followed before.
var packed = []string{".gz", ".zst", ".xz", ".bz2", ".lz4", ".Z", ".zip"}

func (t *Tailer) defaults() {
	t.Poll = cmp.Or(t.Poll, 250*time.Millisecond)
	t.Grace = cmp.Or(t.Grace, 5*time.Second)
	t.LetGo = cmp.Or(t.LetGo, 10*time.Minute)
	t.Settle = cmp.Or(t.Settle, 10*time.Second)
	t.StopWait = cmp.Or(t.StopWait, 10*time.Second)
	t.MaxLine = cmp.Or(t.MaxLine, wire.MaxLine)
	t.BatchBytes = cmp.Or(t.BatchBytes, 1<<20)
	t.Memory = cmp.Or(t.Memory, 12<<20)
	if t.Log == nil {
		t.Log = slog.New(slog.DiscardHandler)
	}
	t.followers, t.byPath = make(map[fileKey]*Follower), make(map[string]*Follower)
	t.claims, t.skipped = make(map[wire.StreamID]*Follower), make(map[string]bool)
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
	if !t.Lossy {
		if err := t.awaitWelcome(ctx); err != nil {
			return err
		}
		t.mu.Lock()
		t.first = t.first && len(t.welcome.Streams) == 0 // else the collector remembers what this side forgot
		t.mu.Unlock()
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { // at once, whatever this goroutine does just now
		if files, _ := t.perishing(); files == 0 {
			stop()
		}
	})()
	t.look(following)
	t.findRotated(following)
	t.looked = true
	err = t.loop(ctx, following)
	t.finish(following)
	stop()
	t.running.Wait()
	t.reportLost()
	if serr := t.marks.save(true); serr != nil {
		return fmt.Errorf("write the marks: %w", serr)
	}
	return err
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
	hints := t.hints()
	defer hints.close()
	last := time.Now()
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
		case <-tick.C:
		}
		if t.Alive != nil {
			t.Alive()
		}
		if hints.stale || !hints.whole || time.Since(last) > seldom*t.Poll {
			t.look(following)
			hints.stale, last = false, time.Now()
		}
		t.pokeHidden()
		if err := t.marks.save(false); err != nil {
			t.Log.Error("cannot write the marks; if the collector loses its state too, lines may be sent twice", "err", err)
		}
	}
}

// seldom is how many polls are left out where the kernel gives hints.
const seldom = 12

// hints are the kernel's word of what changes in the directories of all patterns.
type hints struct {
	watcher *fsnotify.Watcher // nil: there are none
	whole   bool              // all directories are watched
	stale   bool              // files came or went since the last look
}

func (t *Tailer) hints() *hints {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return &hints{}
	}
	h := &hints{watcher: w, whole: true}
	for _, table := range t.Tables {
		for _, p := range table.Paths {
			dir := filepath.Dir(p)
			dirs, _ := filepath.Glob(dir)
			h.whole = h.whole && len(dirs) == 1 && dirs[0] == dir // else others may appear
			for _, d := range dirs {
				h.whole = w.Add(d) == nil && h.whole
			}
		}
	}
	return h
}

func (h *hints) events() chan fsnotify.Event {
	if h.watcher == nil {
		return nil
	}
	return h.watcher.Events
}

func (h *hints) close() {
	if h.watcher != nil {
		h.watcher.Close()
	}
	h.watcher, h.whole = nil, false
}

// hint wakes the follower of a file that was written to.
func (t *Tailer) hint(h *hints, e fsnotify.Event) {
	if !e.Has(fsnotify.Write) {
		h.stale = h.stale || !e.Has(fsnotify.Chmod)
		return
	}
	t.mu.Lock()
	f := t.byPath[e.Name]
	t.mu.Unlock()
	if f == nil {
		return
	}
	f.poke()
}

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

// Welcome takes what a collector says at each connection.
func (t *Tailer) Welcome(w wire.Welcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.welcome = &w
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

// maxText is how much text of a batch the way to the collector takes.
func (t *Tailer) maxText() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.welcome == nil || t.welcome.MaxText == 0 {
		return wire.MaxText
	}
	return t.welcome.MaxText
}

// look finds new files and tells each follower where its file is seen now.
func (t *Tailer) look(ctx context.Context) {
	seen := make(map[fileKey]candidate)
	var order []candidate
	for i := range t.Tables {
		for _, path := range t.match(&t.Tables[i]) {
			fi, err := os.Stat(path)
			if err != nil || !t.regular(path, fi) {
				continue
			}
			c := candidate{path, &t.Tables[i], fileKey{disk.Device(fi), disk.Inode(fi)}, fi}
			if _, ok := seen[c.key]; !ok { // else the same file under another name
				seen[c.key] = c
				order = append(order, c)
			}
		}
	}
	t.beginAll(ctx, order)
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, f := range t.followers {
		c, visible := seen[key]
		f.see(c, visible)
		if visible {
			t.byPath[c.path] = f
		}
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
func (t *Tailer) match(table *Table) (paths []string) {
	for _, pattern := range table.Paths {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.once(pattern, "a pattern that cannot be: "+err.Error())
		}
		for _, path := range found {
			if !table.excludes(path) && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

func (table *Table) excludes(path string) bool {
	if slices.Contains(packed, filepath.Ext(path)) {
		return true
	}
	for _, pattern := range table.Exclude {
		whole, _ := filepath.Match(pattern, path)
		base, _ := filepath.Match(pattern, filepath.Base(path))
		if whole || base {
			return true
		}
	}
	return false
}

func (t *Tailer) regular(path string, fi fs.FileInfo) bool {
	if fi.Mode().IsRegular() {
		return true
	}
	if !fi.IsDir() {
		t.once(path, "not followed: it is no regular file")
	}
	return false
}

// once logs something about a path the first time only.
func (t *Tailer) once(path, text string) {
	if !t.skipped[path] {
		t.skipped[path] = true
		t.Log.Warn(text, "path", path)
	}
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
		if err != nil {
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
		f.before = t.byPath[f.path]
		t.startLocked(ctx, f)
	}
}

// startLocked runs a follower on a goroutine, which ends with ctx or when its
// file is gone and drained.
func (t *Tailer) startLocked(ctx context.Context, f *Follower) {
	t.followers[f.key], t.byPath[f.path] = f, f
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
	for path, x := range t.byPath {
		if x == f {
			delete(t.byPath, path)
		}
	}
	if t.claims[f.stream] == f {
		delete(t.claims, f.stream)
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
	if err != nil || (fileKey{disk.Device(fi), disk.Inode(fi)}) != c.key {
		file.close()
		return nil, cmp.Or(err, fmt.Errorf("it was replaced just now"))
	}
	source := c.table.Source
	if source == "" {
		source = strings.TrimSuffix(filepath.Base(c.path), ".log")
	}
	return &Follower{t: t, table: c.table, path: c.path, key: c.key, source: source, file: file,
		wake: make(chan struct{}, 1), drained: make(chan struct{}), modified: fi.ModTime(), visible: true}, nil
}

// FileStatus is one file as it stands.
type FileStatus struct {
	Path    string `json:"path"`
	Stream  string `json:"stream"`
	Source  string `json:"source"`
	Size    int64  `json:"size"`
	Acked   int64  `json:"acked"`                // bytes that the other side keeps
	Holes   int64  `json:"hole_bytes,omitempty"` // bytes of NULs among them that were passed over
	Trouble string `json:"trouble,omitempty"`
	Warning string `json:"warning,omitempty"` // of what is in it
}

// Status lists the files that are followed, by path.
func (t *Tailer) Status() (list []FileStatus) {
	t.mu.Lock()
	followers := make([]*Follower, 0, len(t.followers))
	for _, f := range t.followers {
		followers = append(followers, f)
	}
	t.mu.Unlock()
	for _, f := range followers {
		list = append(list, f.status())
	}
	slices.SortFunc(list, func(a, b FileStatus) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// Counts are the tailer's counters by name.
func (t *Tailer) Counts() map[string]uint64 {
	c := &t.counts
	return map[string]uint64{
		"lines": c.lines.Load(), "bytes": c.bytes.Load(), "split_lines": c.split.Load(), "truncated_files": c.truncated.Load(),
		"skipped_bytes": c.skipped.Load(), "refused_batches": c.refused.Load(), "maybe_doubled_bytes": c.doubled.Load(), "vanished_files": c.vanished.Load(),
		"hole_bytes": c.holes.Load(), "wide_files": c.wide.Load(), "closed_idle_files": c.closed.Load(),
	}
}
