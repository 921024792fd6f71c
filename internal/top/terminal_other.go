//go:build !linux

package top

import (
	"errors"
	"os"
	"time"
)

// Terminal is a terminal with a keyboard: on this system there is none that is known.
type Terminal struct{}

// Open knows no terminal on this system.
func Open(_, _ *os.File) (*Terminal, error) { return nil, errors.ErrUnsupported }

func (t *Terminal) begin() error                    { return errors.ErrUnsupported }
func (t *Terminal) end()                            {}
func (t *Terminal) size() (width, height int)       { return 80, 24 }
func (t *Terminal) resized() bool                   { return false }
func (t *Terminal) draw([]Line)                     {}
func (t *Terminal) key(time.Duration) (byte, error) { return 0, errors.ErrUnsupported }
