//go:build !unix

package daemon

import "errors"

// become is not possible here.
func become(int, int, []int) (back func() error, err error) { return nil, errors.ErrUnsupported }
