package daemon

import (
	"os"
	"runtime"
	"time"

	"fanin/internal/machine"
)

// Processors lets a quiet process use one processor, and a busy one all of them. With several, each line that comes
// alone wakes threads that look for work, find none and sleep again, which costs more than the line. A process that
// becomes busy has all processors a second later. Where GOMAXPROCS is set, that decides.
type Processors struct {
	off bool
	at  time.Time     // of the last look
	was time.Duration // what was used until then
	use
}

// NewProcessors begins with all of them.
func NewProcessors() *Processors {
	used, known := machine.Used()
	return &Processors{off: os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 || !known,
		at: time.Now(), was: used}
}

// Look decides once a second. It is called more often, by one goroutine that wakes anyway.
func (p *Processors) Look() {
	passed := time.Since(p.at)
	if p.off || passed < time.Second {
		return
	}
	used, _ := machine.Used()
	one := p.one
	p.note(time.Duration(float64(used-p.was) / passed.Seconds()))
	p.at, p.was = p.at.Add(passed), used
	switch {
	case p.one == one:
	case p.one:
		runtime.GOMAXPROCS(1)
	default:
		runtime.SetDefaultGOMAXPROCS()
	}
}

// Release gives the process all processors again.
func (p *Processors) Release() {
	if p.one {
		runtime.SetDefaultGOMAXPROCS()
	}
	p.off, p.use = true, use{}
}

// use is how much a process uses the processors.
type use struct {
	quiet int  // looks in a row at which it was quiet
	one   bool // one processor is enough
}

// What a process uses in a second if it is busy, and if it is quiet. In between it stays as it was.
const (
	busyTime  = 200 * time.Millisecond
	quietTime = 100 * time.Millisecond
	longQuiet = 5 // looks, after which one processor is enough
)

// note notes what was used in a second.
func (u *use) note(used time.Duration) {
	switch {
	case used >= busyTime:
		*u = use{}
	case used >= quietTime:
		u.quiet = 0
	default:
		if u.quiet++; u.quiet >= longQuiet {
			u.one = true
		}
	}
}
