package tail

import (
	"time"
)

// hints are the kernel's reports of changes in the directories that decide what the patterns
// match, and of writes to the files that are followed. They only save time: only a look is reliable.
type hints struct {
	watcher *watcher // nil: there are no hints
	watched map[string]bool
	apart   map[string]bool // directories whose followed files are watched one by one
	whole   bool            // all these directories are watched
	stale   bool            // files were created or removed since the last look
}

// newHints returns the hints of t; wrote is called with the path of a file that was written to.
func newHints(wrote func(path string)) *hints {
	w, err := newWatcher(wrote)
	if err != nil {
		return &hints{}
	}
	return &hints{watcher: w, watched: make(map[string]bool)}
}

// watch watches the directories of a look. It adds all of them each time: another file system
// may have been mounted over a directory that is watched. Nothing reported what changed in a
// new directory between the look and now, so another look is due.
func (h *hints) watch(s *sight) {
	if h.watcher == nil {
		return
	}
	h.whole = s.whole
	before := h.watched
	h.watched = make(map[string]bool, len(s.dirs))
	for dir := range s.dirs {
		if h.watcher.watchDir(dir, !h.apart[dir]) != nil { // it does not exist, or too many are watched
			h.whole = false
			continue
		}
		h.watched[dir] = true
		h.stale = h.stale || !before[dir]
	}
}

// fewFiles is how many files of a directory are followed, at most, if each of them is watched by
// itself. Then a write to another file of the directory wakes nothing. More of them would need too
// much of the kernel's memory, of which it gives each user a part.
const fewFiles = 64

// choose decides which files are watched by themselves, and watches them.
func (h *hints) choose(byDir map[string][]*follower) {
	if h.watcher == nil {
		return
	}
	h.apart = make(map[string]bool, len(byDir))
	files := make(map[*follower]bool)
	for dir, all := range byDir {
		if h.apart[dir] = len(all) <= fewFiles && h.watcher.watchFiles(all); h.apart[dir] {
			for _, f := range all {
				files[f] = true
			}
		}
	}
	h.watcher.keep(files)
}

// hear notes what was reported since it was called last.
func (h *hints) hear() {
	if h.watcher != nil && h.watcher.changed.Swap(false) {
		h.stale = true
	}
	if h.watcher != nil && h.watcher.lost() {
		h.close()
	}
}

func (h *hints) close() {
	if h.watcher != nil {
		h.watcher.close()
	}
	h.watcher, h.whole = nil, false
}

// wrote wakes the follower of a file that was written to.
func (t *Tailer) wrote(path string) {
	t.mu.Lock()
	f := t.byPath[path]
	t.mu.Unlock()
	if f != nil {
		f.notify()
	}
}

// shownByDir returns the followers of files that some table names, by directory.
func (t *Tailer) shownByDir() map[string][]*follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[string][]*follower)
	for _, f := range t.followers {
		if !f.isArchive() && !f.isHidden() {
			all[f.dir] = append(all[f.dir], f)
		}
	}
	return all
}

// pace decides when to look again, by what a look costs: however many files there are, idle
// ones use only a small part of a processor.
type pace struct {
	poll  time.Duration
	began time.Time
	took  time.Duration
}

// How long the agent pauses after a look, in times of what the look took, and how many polls
// are left out where the kernel reports changes.
const (
	restIdle    = 100
	restChanged = 10 // a file was created or removed
	restBlind   = 50 // there are no hints for some directory
	seldom      = 12
	longestRest = time.Minute
)

// due reports whether it is time to look.
func (p *pace) due(h *hints) bool {
	rest := max(seldom*p.poll, restIdle*p.took)
	switch {
	case h.stale:
		rest = min(restChanged*p.took, seldom*p.poll)
	case !h.whole:
		rest = restBlind * p.took
	}
	return time.Since(p.began) >= min(rest, longestRest)
}

// looked notes when the last look was and how long it took, without the time for starting
// the followers of what it found.
func (p *pace) looked(s *sight, h *hints) {
	p.began = time.Now()
	h.watch(s)
	p.took = s.took + time.Since(p.began)
}
