package tail

import (
	"maps"
	"slices"
	"time"

	"fanin/internal/wire"
)

// index finds followers. Under Tailer.mu.
type index struct {
	followers map[fileKey]*follower
	claims    map[wire.StreamID]*follower // the follower of each stream
	byPath    map[string]*follower        // the newest file that had the name
	beside    map[string][]*follower      // by directory; a list is replaced, or grows, but never changes
	letGo     map[fileKey]left            // files that were let go
	added     uint64                      // followers so far
}

// left is how a file was when it was let go: all of it was sent.
type left struct {
	handle   []byte
	modified time.Time
	at       wire.Point
}

func newIndex() index {
	return index{followers: make(map[fileKey]*follower), claims: make(map[wire.StreamID]*follower),
		byPath: make(map[string]*follower), beside: make(map[string][]*follower), letGo: make(map[fileKey]left)}
}

// allLocked returns the followers as they are now.
func (x *index) allLocked() []*follower {
	return slices.Collect(maps.Values(x.followers))
}

func (x *index) addLocked(f *follower) {
	x.added++
	x.followers[f.key], f.number = f, x.added
	if !f.isArchive() { // it is no copy of a file, and none has copies
		x.beside[f.dir] = append(x.beside[f.dir], f)
	}
}

func (x *index) removeLocked(f *follower) {
	if x.followers[f.key] == f {
		delete(x.followers, f.key)
	}
	x.beside[f.dir] = slices.DeleteFunc(slices.Clone(x.beside[f.dir]), func(g *follower) bool { return g == f })
	for _, path := range f.names {
		if x.byPath[path] == f {
			delete(x.byPath, path)
		}
	}
	if x.claims[f.place.stream] == f {
		delete(x.claims, f.place.stream)
	}
}

// nameLocked notes that a follower's file has a name, and returns the follower of the file
// that had it before; nil if there is none.
func (x *index) nameLocked(f *follower, path string) (before *follower) {
	before = x.byPath[path]
	if before == f {
		return nil
	}
	x.byPath[path] = f
	f.names = append(f.names, path)
	return before
}
