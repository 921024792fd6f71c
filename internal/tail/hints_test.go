package tail

import "testing"

// TestWatchingBegins: what changes in a directory between a look and the moment from
// which the directory is watched is found at once, by another look.
func TestWatchingBegins(t *testing.T) {
	h := newHints(func(string) {})
	defer h.close()
	if h.watcher == nil {
		t.Skip("this machine gives no hints")
	}
	one, two := t.TempDir(), t.TempDir()
	for _, c := range []struct {
		dirs  []string
		stale bool
	}{
		{[]string{one}, true},
		{[]string{one}, false},
		{[]string{one, two}, true},
		{[]string{one, two}, false},
		{[]string{two}, false},
		{[]string{one, two}, true},
	} {
		s := &sight{dirs: make(map[string]bool), whole: true}
		for _, dir := range c.dirs {
			s.dirs[dir] = true
		}
		h.stale = false
		if h.watch(s); h.stale != c.stale || !h.whole {
			t.Errorf("%v: another look is due: %v, want %v; all are watched: %v", c.dirs, h.stale, c.stale, h.whole)
		}
	}
}
