//go:build !linux

package scenario

import "fmt"

// PowerCuts needs Linux.
func (p *Programs) PowerCuts(n int, options string) (*Result, error) {
	return nil, fmt.Errorf("%w: power cuts need Linux", ErrUnable)
}

// ChainPowerCuts needs Linux.
func (p *Programs) ChainPowerCuts(n int) (*Result, error) {
	return nil, fmt.Errorf("%w: power cuts need Linux", ErrUnable)
}

// AgentCuts needs Linux.
func (p *Programs) AgentCuts(n int) (*Result, error) {
	return nil, fmt.Errorf("%w: power cuts need Linux", ErrUnable)
}

// PipeCuts needs Linux.
func (p *Programs) PipeCuts(n int) (*Result, error) {
	return nil, fmt.Errorf("%w: power cuts need Linux", ErrUnable)
}
