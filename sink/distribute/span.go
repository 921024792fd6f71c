package distribute

import (
	"cmp"
	"slices"

	"fanin/sink"
)

// span is a run of whole lines within one generation that were handed out, or assigned
// to one member, and are not finished.
type span struct {
	generation uint64
	from, to   int64 // bytes
	lines      int
	attempts   int // that failed
}

func (s span) at() sink.Position  { return sink.Position{Generation: s.generation, Offset: s.from} }
func (s span) end() sink.Position { return sink.Position{Generation: s.generation, Offset: s.to} }

// spans are in the order of the log and do not overlap.
type spans []span

func (list spans) search(at sink.Position) (int, bool) {
	return slices.BinarySearchFunc(list, at, func(s span, at sink.Position) int {
		return cmp.Or(cmp.Compare(s.generation, at.Generation), cmp.Compare(s.from, at.Offset))
	})
}

// add inserts s, and merges it with the neighbours that it touches.
func (list *spans) add(s span) {
	if s.from >= s.to {
		return
	}
	i, _ := list.search(s.at())
	l := *list
	if i > 0 && l[i-1].touches(s) {
		l[i-1].to, l[i-1].lines = s.to, l[i-1].lines+s.lines
		if i < len(l) && l[i-1].touches(l[i]) {
			l[i-1].to, l[i-1].lines = l[i].to, l[i-1].lines+l[i].lines
			l = slices.Delete(l, i, i+1)
		}
		*list = l
		return
	}
	if i < len(l) && s.touches(l[i]) {
		l[i].from, l[i].lines = s.from, l[i].lines+s.lines
		return
	}
	*list = slices.Insert(l, i, s)
}

// touches reports whether t begins where s ends, and has as many attempts.
func (s span) touches(t span) bool {
	return s.generation == t.generation && s.to == t.from && s.attempts == t.attempts
}

// push adds s after all others.
func (list *spans) push(s span) {
	if l := *list; len(l) > 0 && l[len(l)-1].touches(s) {
		l[len(l)-1].to, l[len(l)-1].lines = s.to, l[len(l)-1].lines+s.lines
		return
	}
	*list = append(*list, s)
}

// shorten removes lines that were handed out from the first span, up to byte to.
func (list *spans) shorten(to int64, lines int) {
	first := &(*list)[0]
	first.from, first.lines = to, first.lines-lines
	if first.from >= first.to {
		*list = (*list)[1:]
	}
}

// lines returns the number of lines.
func (list spans) lines() (n int) {
	for _, s := range list {
		n += s.lines
	}
	return n
}

// within removes the spans in a generation or before it, and returns them.
func (list *spans) within(generation uint64) (out spans) {
	i := 0
	for i < len(*list) && (*list)[i].generation <= generation {
		i++
	}
	out = slices.Clone((*list)[:i])
	*list = (*list)[i:]
	return out
}
