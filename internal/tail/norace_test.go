//go:build !race

package tail

const slowness = 1
