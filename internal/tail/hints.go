package tail

import (
	"time"

	"github.com/fsnotify/fsnotify"
)

// hints are the kernel's reports of changes in the directories that decide what the patterns
// match. They only save time: only a look is reliable.
type hints struct {
	watcher *fsnotify.Watcher // nil: there are no hints
	watched map[string]bool
	whole   bool // all these directories are watched
	stale   bool // files were created or removed since the last look
}

func newHints() *hints {
	w, err := fsnotify.NewWatcher()
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
		if h.watcher.Add(dir) != nil { // it does not exist, or too many are watched
			h.whole = false
			continue
		}
		h.watched[dir] = true
		h.stale = h.stale || !before[dir]
	}
}

func (h *hints) events() chan fsnotify.Event {
	if h.watcher == nil {
		return nil
	}
	return h.watcher.Events
}

// errors reports that events were lost.
func (h *hints) errors() chan error {
	if h.watcher == nil {
		return nil
	}
	return h.watcher.Errors
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
	if f != nil {
		f.notify()
	}
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
