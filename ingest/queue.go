package ingest

import (
	"container/ring"
	"iter"
)

// queue is arrivals in an order. One is added and leaves in the same time, however many there are:
// ten thousand connections may wait, and each text that becomes complete touches three queues.
// Its zero value is empty; it must not be copied.
type queue struct{ head ring.Ring }

// add puts the arrival of a place last.
func (q *queue) add(place *ring.Ring) { q.head.Prev().Link(place) }

// leave takes the arrival of a place out of the queue that it is in, if any.
func leave(place *ring.Ring) { place.Prev().Unlink(1) }

// first returns the arrival that was added first; nil: none is there.
func (q *queue) first() *Arrival {
	a, _ := q.head.Next().Value.(*Arrival)
	return a
}

// all are the arrivals, in order. The one that was given may leave meanwhile.
func (q *queue) all() iter.Seq[*Arrival] {
	return func(yield func(*Arrival) bool) {
		for r := q.head.Next(); r != &q.head; {
			next := r.Next()
			if !yield(r.Value.(*Arrival)) {
				return
			}
			r = next
		}
	}
}

// insert puts a where it belongs in a queue that is in the order in which the texts began.
func (q *queue) insert(a *Arrival, place *ring.Ring) {
	before := q.head.Prev()
	for before != &q.head && before.Value.(*Arrival).order > a.order {
		before = before.Prev()
	}
	before.Link(place)
}
