package disktest

import (
	"bytes"
	"slices"
)

const (
	pageSize = 4096
	lineSize = 64 // of a cache line, which memory that lasts may write alone
)

// content is the bytes of a file: those that were synced, those that are there now,
// and each state in between that the disk may have begun to write.
type content struct {
	durable, now []byte
	pages        map[int][][]byte // by number: each state since the sync
	sizes        []int            // so too
	clean        map[int]bool     // pages that the system takes for written after a sync that failed
}

func newContent() *content { return &content{pages: make(map[int][][]byte)} }

// look notes what the file holds now.
func (c *content) look(b []byte) {
	if bytes.Equal(c.now, b) {
		return
	}
	if len(b) != len(c.now) {
		c.sizes = append(c.sizes, len(b))
	}
	for at := 0; at < max(len(b), len(c.now)); at += pageSize {
		if page := pageOf(b, at); !bytes.Equal(page, pageOf(c.now, at)) {
			c.pages[at/pageSize] = append(c.pages[at/pageSize], page)
		}
	}
	c.now = append(c.now[:0], b...)
}

// pageOf copies a page out of b; behind the end of b it is zero.
func pageOf(b []byte, at int) []byte {
	page := make([]byte, pageSize)
	copy(page, b[min(at, len(b)):])
	return page
}

// synced says that what the file holds now is durable, but for what the system
// wrongly takes for that already.
func (c *content) synced() {
	was := c.durable
	c.durable = append([]byte(nil), c.now...)
	c.sizes = nil
	for i := range c.pages {
		if !c.clean[i] {
			delete(c.pages, i)
		} else if at := i * pageSize; at < len(c.durable) {
			copy(c.durable[at:], pageOf(was, at))
		}
	}
}

// dropped says that a sync failed.
func (c *content) dropped() {
	c.clean = make(map[int]bool)
	for i := range c.pages {
		c.clean[i] = true
	}
}

// wrote says that the system has something to write again.
func (c *content) wrote(off int64, n int) {
	for i := int(off) / pageSize; len(c.clean) > 0 && i*pageSize < int(off)+n; i++ {
		delete(c.clean, i)
	}
}

// lose makes the file what a cut leaves of it.
func (c *content) lose(l *loss) {
	size := append([]int{len(c.durable)}, c.sizes...)[l.state(len(c.sizes)+1, l.sizes)]
	left := make([]byte, (size+pageSize-1)/pageSize*pageSize)
	copy(left, c.durable)
	for _, i := range sorted(c.pages) {
		states := c.pages[i]
		for at := i * pageSize; at < min((i+1)*pageSize, len(left)); at += l.grain {
			if state := l.state(len(states)+1, l.data); state > 0 {
				copy(left[at:at+l.grain], states[state-1][at-i*pageSize:])
			}
		}
	}
	c.clean = nil // after a cut the system knows no better than the disk
	c.look(left[:size])
	c.synced()
}

// names are the entries of a directory: those that were synced, those that are
// there now, and the changes in between, in their order.
type names struct {
	durable, now map[string]entry
	changes      []change
}

type entry struct {
	inode uint64
	dir   bool
}

// change is one step of a directory, which survives as a whole: a new name, a
// name that is gone (to is empty), or a rename, which may replace.
type change struct {
	from, to string
	entry
}

func newNames() *names {
	return &names{durable: make(map[string]entry), now: make(map[string]entry)}
}

// look notes the names that are there now.
func (n *names) look(now map[string]entry) {
	was, is := make(map[entry]string), make(map[entry]string)
	for name, e := range n.now {
		was[e] = name
	}
	for name, e := range now {
		is[e] = name
	}
	var moved, gone, fresh []change
	for _, name := range sorted(now) {
		e := now[name]
		before, known := was[e]
		switch {
		case n.now[name] == e:
		case known && now[before] != e:
			moved = append(moved, change{before, name, e})
		default:
			fresh = append(fresh, change{"", name, e})
		}
	}
	for _, name := range sorted(n.now) {
		_, there := now[name]
		if _, elsewhere := is[n.now[name]]; !there && !elsewhere {
			gone = append(gone, change{name, "", n.now[name]})
		}
	}
	// Of renames that were seen at once, the one that made a name free came first.
	slices.SortStableFunc(moved, func(a, b change) int {
		switch {
		case a.from == b.to:
			return -1
		case b.from == a.to:
			return 1
		}
		return 0
	})
	n.changes = slices.Concat(n.changes, moved, gone, fresh)
	n.now = now
}

// synced says that the names that are there now are durable.
func (n *names) synced() { n.durable, n.changes = n.now, nil }

// lose makes the names what a cut leaves of them. Changes are lost in any
// combination, but those of one name keep their order: without the earlier one,
// a later one never was.
func (n *names) lose(l *loss) {
	left := make(map[string]entry)
	for name, e := range n.durable {
		left[name] = e
	}
	never := map[string]bool{}
	for _, c := range n.changes {
		if never[c.from] || never[c.to] || !l.survives(l.names) {
			for _, name := range []string{c.from, c.to} {
				never[name] = name != ""
			}
			continue
		}
		if left[c.from] == c.entry {
			delete(left, c.from)
		}
		if c.to != "" {
			left[c.to] = c.entry
		}
	}
	n.now = left
	n.synced()
}
