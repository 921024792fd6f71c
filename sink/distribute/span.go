package distribute

import (
	"cmp"
	"slices"

	"fanin/sink"
)

// span is a run of whole lines within one generation that wait to be handed out
// (again).
type span struct {
	generation uint64
	from, to   int64 // bytes
	lines      int
	attempts   int // how often they were handed out before, and failed
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

// add puts s in its place, and makes one of it and its neighbours where they
// touch and are alike.
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

// touches reports whether t goes on where s ends, as the same kind of span.
func (s span) touches(t span) bool {
	return s.generation == t.generation && s.to == t.from && s.attempts == t.attempts
}

// push adds s behind all others: what comes in the order of the log.
func (list *spans) push(s span) {
	if l := *list; len(l) > 0 && l[len(l)-1].touches(s) {
		l[len(l)-1].to, l[len(l)-1].lines = s.to, l[len(l)-1].lines+s.lines
		return
	}
	*list = append(*list, s)
}

// took shortens the first span by lines that were handed out, up to byte to.
func (list *spans) took(to int64, lines int) {
	first := &(*list)[0]
	first.from, first.lines = to, first.lines-lines
	if first.from >= first.to {
		*list = (*list)[1:]
	}
}

func (list spans) lines() (n int) {
	for _, s := range list {
		n += s.lines
	}
	return n
}

// within takes out what lies in a generation or before it.
func (list *spans) within(generation uint64) (out spans) {
	i := 0
	for i < len(*list) && (*list)[i].generation <= generation {
		i++
	}
	out = slices.Clone((*list)[:i])
	*list = (*list)[i:]
	return out
}
