//go:build !linux && !darwin

package disk

import "errors"

// Space is not known here.
func Space(string) (available, size uint64, err error) { return 0, 0, errors.ErrUnsupported }
