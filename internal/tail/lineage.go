package tail

import (
	"cmp"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"fanin/internal/tail/decode"
)

// The files that rotation made of one have an order: the lines of a file come behind all that the file
// has that had its name before. While the tailer runs, it sees which file gets the name of which. At a
// start, saved positions, names and dates show it. Before the first lines of a file are sent, its
// follower asks those of the files before it to send all that they have: also what a program wrote to
// the old file when the new one existed already.

// lineage is what a follower knows of the files before its own, and what those that come behind its
// file asked.
type lineage struct {
	was      string                   // the path in the saved position that its stream goes on from; "": none
	ahead    string                   // the path at which a new file comes behind this one; "": its own
	earlier  []*follower              // what these have is sent first; the goroutine's own
	waitsFor atomic.Pointer[follower] // that was asked

	asked   chan struct{}   // closed when all that the file has now is sent; nil: no question. Under follower.mu
	answers []chan struct{} // what the goroutine owes ...
	since   time.Time       // ... since then
}

// The names that rotation makes of another one: by appending to it, or by a date before its extension.
var (
	appendedName = regexp.MustCompile(`^(.+?)[._-](?:old|([0-9]{1,9})|[0-9][0-9TZ._:-]{5,})$`)
	insertedDate = regexp.MustCompile(`^(.+?)[._-][0-9][0-9TZ._:-]{5,}(\.[A-Za-z]+)$`)
)

// liveName returns the path that a file had while it was written to, by its name, and the number that
// rotation appended: 0 if nothing was appended, -1 if it was no number.
func liveName(path string) (live string, number int) {
	dir, base := filepath.Split(path)
	if m := insertedDate.FindStringSubmatch(base); m != nil {
		return dir + m[1] + m[2], -1
	}
	m := appendedName.FindStringSubmatch(base)
	if m == nil {
		return path, 0
	}
	number, err := strconv.Atoi(m[2])
	if err != nil {
		number = -1
	}
	return dir + m[1], number
}

// lineUp makes new files wait for those that had their names before. Names alone say little: only if
// one of the files has the name without a suffix, or had it, the others are its predecessors.
func (t *Tailer) lineUp(fresh []*follower) {
	lines := make(map[string][]*follower)
	for _, f := range fresh {
		if f.isArchive() || f.isChained() || f.table.Whole {
			continue
		}
		live, _ := liveName(cmp.Or(f.was, f.label()))
		lines[live] = append(lines[live], f)
	}
	for live, files := range lines {
		isLive := func(f *follower) bool { return f.path == live }
		wasLive := func(f *follower) bool { return f.label() == live || f.was == live }
		var last *follower
		if slices.ContainsFunc(files, isLive) {
			t.mu.Lock()
			last = t.byPath[live]
			t.mu.Unlock()
		} else if !slices.ContainsFunc(files, wasLive) {
			continue
		}
		if len(files) > 1 {
			sortByAge(live, files)
		}
		for _, f := range files {
			if last != nil && !last.isArchive() {
				f.earlier = append(f.earlier, last)
			}
			if !isLive(f) {
				f.lost = time.Now()
			}
			last = f
		}
		last.ahead = live
	}
}

// withMissed adds what a look missed, because it was renamed just then: files in the directories of new
// ones that had the same names. A directory is read for it where a file was rotated, or at a start.
func (t *Tailer) withMissed(fresh []*follower) []*follower {
	lines, dirs, seen := make(map[string]bool), make(map[string]bool), make(map[fileKey]bool)
	for _, f := range fresh {
		seen[f.key] = true
		t.mu.Lock()
		rotated := !t.looked || t.byPath[f.path] != nil
		t.mu.Unlock()
		if rotated && !f.isArchive() && !f.isChained() && !f.table.Whole {
			live, _ := liveName(f.path)
			lines[live], dirs[f.dir] = true, true
		}
	}
	for dir := range dirs {
		for more := true; more && len(seen) < t.Follow; {
			more = false
			eachIn(dir, func(e fs.DirEntry) bool { // on an error there are none
				path := filepath.Join(dir, e.Name())
				if live, _ := liveName(path); lines[live] {
					if f := t.openMissed(path, seen); f != nil {
						fresh, more = append(fresh, f), true
					}
				}
				return true
			})
		}
	}
	return fresh
}

// openMissed opens a file that a look should have found, nil if it is none.
func (t *Tailer) openMissed(path string, seen map[fileKey]bool) *follower {
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || seen[keyOf(fi)] || t.follows(keyOf(fi)) {
		return nil
	}
	table := t.namedBy(path)
	_, refused := t.unfit[keyOf(fi)]
	if table == nil || refused || table.IgnoreOlder > 0 && time.Since(fi.ModTime()) > table.IgnoreOlder {
		return nil
	}
	f, err := t.open(candidate{path: path, table: table, key: keyOf(fi), info: fi})
	if err != nil {
		return nil // the next look reports it
	}
	seen[f.key] = true
	return f
}

// sortByAge sorts files that had one name, the oldest first, by when they were written to last. The file
// that has the name is the newest. Of equally old ones, the one with the larger number is the older.
func sortByAge(live string, files []*follower) {
	names, numbers := namesNow(live, files), make(map[*follower]int, len(files))
	for _, f := range files {
		_, numbers[f] = liveName(cmp.Or(names[f.key], f.path))
	}
	slices.SortStableFunc(files, func(a, b *follower) int {
		switch live {
		case names[a.key]:
			return 1
		case names[b.key]:
			return -1
		}
		return cmp.Or(a.modified.Compare(b.modified), cmp.Compare(numbers[b], numbers[a]))
	})
}

// namesNow returns the names that files have which had one name. They may be renamed meanwhile: what
// two readings of their directory agree on was so between them.
func namesNow(live string, files []*follower) (names map[fileKey]string) {
	for range 10 {
		again := make(map[fileKey]string)
		eachIn(filepath.Dir(live), func(e fs.DirEntry) bool { // on an error there are none
			path := filepath.Join(filepath.Dir(live), e.Name())
			if name, _ := liveName(path); name != live {
				return true
			}
			fi, err := e.Info()
			if err == nil && slices.ContainsFunc(files, func(f *follower) bool { return f.key == keyOf(fi) }) {
				again[keyOf(fi)] = path
			}
			return true
		})
		if names != nil && maps.Equal(names, again) {
			break
		}
		names = again
	}
	return names
}

// awaitEarlier waits until the files before this one have sent all that they have now.
func (f *follower) awaitEarlier(ctx context.Context) error {
	f.setWaits("waits until the file that was rotated before it is sent")
	f.file.f.release(false)
	for _, g := range f.earlier {
		if err := f.awaitSent(ctx, g); err != nil {
			return err
		}
	}
	f.earlier = nil
	return f.file.f.hold(ctx, f.isHidden())
}

// awaitSent waits until another file's follower has sent all that its file has now.
func (f *follower) awaitSent(ctx context.Context, g *follower) error {
	f.waitsFor.Store(g)
	defer f.waitsFor.Store(nil)
	answer := g.ask()
	for !g.hasNoMore() && !g.awaits(f) {
		select {
		case <-answer:
			return nil
		case <-time.After(f.t.Poll):
			g.notify()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ask asks the follower to send all that its file has now. The answer is that the channel is closed.
func (f *follower) ask() (answer <-chan struct{}) {
	f.mu.Lock()
	if f.asked == nil {
		f.asked = make(chan struct{})
	}
	answer = f.asked
	f.mu.Unlock()
	f.notify()
	return answer
}

// hear takes what was asked, before the follower looks whether there is more to send.
func (f *follower) hear() {
	f.mu.Lock()
	asked := f.asked
	f.asked = nil
	f.mu.Unlock()
	if asked == nil {
		return
	}
	if len(f.answers) == 0 {
		f.since = time.Now()
	}
	f.answers = append(f.answers, asked)
}

// answer answers what was heard, if all that the file had then is sent.
func (f *follower) answer(x idleFile) {
	if len(f.answers) == 0 || f.holdsEnd(x, time.Since(f.since)) {
		return
	}
	for _, answer := range f.answers {
		close(answer)
	}
	f.answers = nil
}

// hasNoMore reports whether the file has nothing to wait for: all of it is sent, it is gone, or it
// cannot be read or sent for now.
func (f *follower) hasNoMore() bool {
	_, n := f.unsent()
	f.mu.Lock()
	defer f.mu.Unlock()
	return n <= 0 || f.report.stuck
}

// awaits reports whether a follower waits for g, by way of others. Files that changed their names
// with one another may wait in a circle.
func (f *follower) awaits(g *follower) bool {
	for range 100 {
		if f = f.waitsFor.Load(); f == nil {
			return false
		}
		if f == g {
			return true
		}
	}
	return true
}

// holdsEnd reports whether the file behind this one, which has waited for so long, still waits for the
// end of this one, which is no whole line or record yet: it is sent soon, and so lines stay in order. A
// program that writes to both files does not keep it waiting for long.
func (f *follower) holdsEnd(x idleFile, waited time.Duration) bool {
	if !x.partial || x.final || x.superseded {
		return false
	}
	if _, records := f.file.decoder.(*decode.Multiline); records && f.reading.wait > 0 {
		return waited < f.t.Grace+2*f.reading.wait
	}
	return waited < f.t.holeAge()
}
