package ingest

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// Troubles are what keeps the parts of an input from accepting messages now. Begin them
// before anything else.
type Troubles struct {
	mu sync.Mutex
	by map[string]string // by the part of the input
}

// notYet is the trouble of a part that has not begun.
const notYet = "not yet"

// Begin begins with parts that have not begun.
func (t *Troubles) Begin(parts []string) {
	t.by = make(map[string]string)
	for _, part := range parts {
		t.by[part] = notYet
	}
}

// NotYet notes that a part begins again.
func (t *Troubles) NotYet(part string) { t.Set(part, notYet) }

// Set stores what is wrong with a part, "": nothing. It returns what was wrong before.
func (t *Troubles) Set(part, trouble string) (before string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.by[part]
	delete(t.by, part)
	if trouble != "" {
		t.by[part] = trouble
	}
	return before
}

// String is all of them; "": none.
func (t *Troubles) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, part := range slices.Sorted(maps.Keys(t.by)) {
		all = append(all, part+": "+t.by[part])
	}
	return strings.Join(all, "; ")
}
