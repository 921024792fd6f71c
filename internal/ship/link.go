package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"fanin/internal/wire"
)

// link is the session that works now, or why there is none: what every way to
// a collector has.
type link[S interface {
	comparable
	ending() bool // nothing can be begun in it any more
}] struct {
	mu      sync.Mutex
	session S             // zero: none
	change  chan struct{} // closed when session changes
	log     wire.StreamID // the log met first: all addresses must be its
	trouble string
}

// lost says once what is wrong, not at each try.
func (l *link[S]) lost(log *slog.Logger, address string, err error, wait time.Duration) {
	if !l.note(address, err) {
		return
	}
	about := []any{"collector", address, "err", err}
	if wait > 0 {
		about = append(about, "next_try", wait)
	}
	log.Warn("no connection to the collector; lines wait in their files", about...)
}

// note keeps what is wrong, and reports whether it is another thing than before.
func (l *link[S]) note(address string, err error) (news bool) {
	text := fmt.Sprintf("%s: %v", address, err)
	var op *net.OpError
	if errors.As(err, &op) && op.Source != nil {
		text = strings.ReplaceAll(text, op.Source.String()+"->", "") // another port each time
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	news = text != l.trouble
	l.trouble = text
	return news
}

// Trouble is why there is no connection, "" while there is one.
func (l *link[S]) Trouble() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none S
	if l.session != none {
		return ""
	}
	if l.trouble == "" {
		return "not connected yet"
	}
	return l.trouble
}

// anyLog forgets which log was met first.
func (l *link[S]) anyLog() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = wire.StreamID{}
}

// sameLog refuses an address that leads to another log: its watermarks would be
// taken for this one's.
func (l *link[S]) sameLog(log wire.StreamID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.log.IsZero() {
		l.log = log
	}
	if l.log != log {
		return fmt.Errorf("there is the log %s, and at the address before the log %s: all addresses must lead to one log; remove one of them", log, l.log)
	}
	return nil
}

func (l *link[S]) use(s S) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	var none S
	if s != none {
		l.trouble = ""
	}
	if l.change != nil {
		close(l.change)
		l.change = nil
	}
}

// current waits for a session.
func (l *link[S]) current(ctx context.Context) (S, error) {
	var none S
	for {
		l.mu.Lock()
		s := l.session
		if s != none && s.ending() {
			s = none // its goroutine is about to say so
		}
		if s == none && l.change == nil {
			l.change = make(chan struct{})
		}
		change := l.change
		l.mu.Unlock()
		if s != none {
			return s, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return none, fmt.Errorf("no connection to the collector: %w", ctx.Err())
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
