package zmq

import (
	"sync"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
	"fanin/internal/zmtp"
)

// loss is a kind of loss, or of what may be one.
type loss int

const (
	busy        loss = iota // messages were dropped: there was no memory for them
	tooLarge                // messages were skipped: they are larger than allowed
	gap                     // messages are missing, as their counters show
	restarted               // a sender's counters began anew
	broken                  // connections broke
	unreadBytes             // bytes had arrived and were not read when the collector stopped
	losses
)

// report reports losses in the log itself: the first of a kind at once, and those that follow
// together, once in retry.LogEvery.
type report struct {
	socket zmtp.SocketType
	notice func(format string, args ...any)

	mu    sync.Mutex
	kinds [losses]tally
}

// tally is what is to be reported of a kind.
type tally struct {
	n     int
	peer  string // of the last one
	topic string // likewise
	last  time.Time
}

func newReport(socket zmtp.SocketType, notice func(format string, args ...any)) *report {
	return &report{socket: socket, notice: notice}
}

// add adds n losses of a kind.
func (p *report) add(kind loss, n int, peer string) { p.addOf(kind, n, peer, nil) }

// addOf is add for messages of a topic.
func (p *report) addOf(kind loss, n int, peer string, topic []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &p.kinds[kind]
	t.n += n
	t.peer = peer
	if topic != nil {
		t.topic = wire.CleanSource(string(topic[:min(len(topic), wire.MaxName)]))
	}
	p.flushLocked(kind, false)
}

// flush reports what was not reported yet, and with all also what was reported just before.
func (p *report) flush(all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for kind := range losses {
		p.flushLocked(kind, all)
	}
}

func (p *report) flushLocked(kind loss, all bool) {
	t := &p.kinds[kind]
	if t.n == 0 || !all && time.Since(t.last) < retry.LogEvery {
		return
	}
	n := t.n
	t.n, t.last = 0, time.Now()
	switch kind {
	case busy:
		p.notice("LOST n=%d unit=messages reason=zmq-busy socket=%s peer=%s: they came faster than they could be "+
			"written", n, p.socket, t.peer)
	case tooLarge:
		p.notice("LOST n=%d unit=messages reason=zmq-too-large socket=%s: they are larger than max_message",
			n, p.socket)
	case gap:
		p.notice("LOST n=%d unit=messages reason=zmq-gap socket=%s peer=%s topic=%s: the counters in the messages "+
			"have gaps", n, p.socket, t.peer, t.topic)
	case restarted:
		p.notice("NOTE n=%d unit=topics socket=%s peer=%s: the counters in the messages began anew, so their sender "+
			"was started again", n, p.socket, t.peer)
	case broken:
		p.notice("BREAK n=%d unit=connections socket=%s peer=%s: messages may be missing", n, p.socket, t.peer)
	case unreadBytes:
		p.notice("LOST n=%d unit=bytes reason=zmq-stop socket=%s peer=%s: they arrived while the collector stopped",
			n, p.socket, t.peer)
	}
}
