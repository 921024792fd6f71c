//go:build race

package tail

// slowness is how much more the race detector makes everything cost.
const slowness = 5
