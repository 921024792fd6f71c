//go:build !windows

package tail

import (
	"os"
	"syscall"
)

// openShared opens a source for reading. Were it a pipe by now, opening must
// not wait for its writer.
func openShared(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}
