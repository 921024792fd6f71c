//go:build !linux

package scenario

import (
	"errors"
	"fmt"
)

// ErrUnable says that this machine cannot play a scenario, and why.
var ErrUnable = errors.New("cannot be done on this machine")

// PowerCuts needs Linux.
func (p *Programs) PowerCuts(n int, options string) (*Result, error) {
	return nil, fmt.Errorf("%w: power cuts need Linux", ErrUnable)
}
