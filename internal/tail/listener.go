package tail

import "sync/atomic"

// listener is what the watchers of all systems have.
type listener struct {
	changed atomic.Bool       // a file was created or removed, or reports were lost
	wrote   func(path string) // called with the path of a file that was written to
	ended   chan struct{}     // closed when nothing more is heard
}

func newListener(wrote func(path string)) *listener {
	return &listener{wrote: wrote, ended: make(chan struct{})}
}

// lost reports whether nothing more will be heard.
func (l *listener) lost() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}
