package scenario

import "math/rand/v2"

// deck deals what it has in an order that cannot be foreseen: all of it before any comes again.
type deck[T any] struct{ all, left []T }

func (d *deck[T]) deal() T {
	if len(d.left) == 0 {
		d.left = append(d.left, d.all...)
		rand.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	last := len(d.left) - 1
	x := d.left[last]
	d.left = d.left[:last]
	return x
}
