package livetail

import (
	"context"
	"net/http"
	"sync"

	"fanin/internal/origin"
)

// lookbacks bounds how many watchers look back into the log at a time: until such a
// watcher has reached the end, it may have to read the whole log.
type lookbacks struct {
	mu     sync.Mutex
	max    int            // in all; half of that for one address
	byPeer map[string]int // by address; the control socket is one
	total  int
	fewer  chan struct{} // closed when one has reached the end
}

// use sets how many there may be.
func (l *lookbacks) use(most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max = most
	l.wakeLocked()
}

// most returns how many there may be.
func (l *lookbacks) most() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.max
}

// wakeLocked has those that wait look again.
func (l *lookbacks) wakeLocked() {
	close(l.fewer)
	l.fewer = make(chan struct{})
}

// looksBack reports whether a request begins before the end of the log.
func looksBack(r *http.Request) bool {
	v := r.URL.Query()
	from, n := v.Get("from"), v.Get("n")
	atEnd := (from == "" || from == "end") && (n == "" || n == "0")
	return !atEnd || v.Get("since") != "" || v.Get("to") != "" || r.Header.Get("Last-Event-ID") != ""
}

// lookBack waits until a request may look back. It calls arrived, perhaps twice, when it has
// reached the end. ok is false if there was no place in time.
func (t *Tail) lookBack(r *http.Request) (arrived func(), ok bool) {
	peer := origin.Name(origin.Parse(r.RemoteAddr))
	ctx, cancel := context.WithTimeout(r.Context(), t.Patience)
	defer cancel()
	for {
		fewer := t.lookbacks.enter(peer)
		if fewer == nil {
			return sync.OnceFunc(func() { t.lookbacks.leave(peer) }), true
		}
		select {
		case <-fewer:
		case <-ctx.Done():
			return nil, false
		case <-t.quit:
			return nil, false
		}
	}
}

// enter counts one more watcher, or returns a channel that is closed when there are
// fewer.
func (l *lookbacks) enter(peer string) (fewer <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.max || l.byPeer[peer] >= (l.max+1)/2 {
		return l.fewer
	}
	l.total++
	l.byPeer[peer]++
	return nil
}

func (l *lookbacks) leave(peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.byPeer[peer]--; l.byPeer[peer] == 0 {
		delete(l.byPeer, peer)
	}
	l.wakeLocked()
}

// now returns how many watchers look back.
func (l *lookbacks) now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
