package cluster

import "slices"

// assign decides which member should own each partition, "" if there is none: every member the same
// number, or one more. Partitions stay where they are as far as that is possible. pins are the
// members that partitions were moved to by hand; those that are alive get them in any case. Every
// member computes the same from the same records.
func assign(partitions int, alive []string, owners, pins map[int]string) []string {
	result := make([]string, partitions)
	alive = slices.Sorted(slices.Values(alive))
	if len(alive) == 0 {
		return result
	}
	count := make(map[string]int)
	give := func(p int, to string) { result[p] = to; count[to]++ }
	for p := range result {
		if to := pins[p]; slices.Contains(alive, to) {
			give(p, to)
		}
	}
	least, more := partitions/len(alive), partitions%len(alive)
	keep := func(may func(owner string) bool) {
		for p := range result {
			if owner := owners[p]; result[p] == "" && slices.Contains(alive, owner) && may(owner) {
				give(p, owner)
			}
		}
	}
	keep(func(owner string) bool { return count[owner] < least })
	for _, n := range count {
		more -= max(min(n-least, 1), 0) // those that were moved by hand
	}
	keep(func(owner string) bool {
		if count[owner] != least || more <= 0 {
			return false
		}
		more--
		return true
	})
	for p := range result {
		if result[p] == "" {
			give(p, slices.MinFunc(alive, func(a, b string) int { return count[a] - count[b] }))
		}
	}
	return result
}
