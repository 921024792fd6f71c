package relp

// overlap is how the first frames of a session overlap the last ones of another session, as
// hashes.
//
//	last frames of the old session   A B C D E
//	first frames of the new one          C D E F     shortest = longest = 3
//	                                         E E F   shortest = longest = 1
//	                                   B C           more: a run may go on
type overlap struct {
	shortest, longest int  // frames that are both: the last ones there, and the first ones here; 0: none
	more              bool // all that came here is there, and more follows there
}

// overlapOf compares by the algorithm of Knuth, Morris and Pratt: what it costs depends on the
// number of frames only.
func overlapOf(first, last []uint64) (o overlap) {
	if len(first) == 0 || len(last) == 0 {
		return overlap{more: len(last) > 0}
	}
	borders := bordersOf(first)
	n := 0 // frames at the beginning of first that are equal to those before the place in last
	for i, hash := range last {
		for n > 0 && (n == len(first) || first[n] != hash) {
			n = borders[n-1]
		}
		if first[n] == hash {
			n++
		}
		o.more = o.more || n == len(first) && i+1 < len(last)
	}
	for o.longest = n; n > 0; n = borders[n-1] {
		o.shortest = n
	}
	return o
}

// bordersOf returns, for each beginning of list, the length of the longest shorter beginning that
// it also ends with.
func bordersOf(list []uint64) []int {
	borders := make([]int, len(list))
	for i, n := 1, 0; i < len(list); i++ {
		for n > 0 && list[i] != list[n] {
			n = borders[n-1]
		}
		if list[i] == list[n] {
			n++
		}
		borders[i] = n
	}
	return borders
}
