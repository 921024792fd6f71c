package stream

// What the tests of other packages need to know.
const (
	YieldAfter = yieldAfter
	RefuseTime = refuseTime
	MaxBeyond  = maxBeyond
)

// DisplacedAtOnce is displacedAtOnce.
func DisplacedAtOnce(maxConns int) int { return displacedAtOnce(maxConns) }
