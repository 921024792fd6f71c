//go:build !linux

package scenario

// split cannot be done here.
func (d *crowdDay) split() error { return ErrUnable }
