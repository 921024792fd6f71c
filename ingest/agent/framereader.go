package agent

import (
	"os"
	"time"

	"fanin/ingest"
	"fanin/ingest/stream"
)

// frameReader reads an agent's bytes within bounds of time: between frames the agent
// may be silent for a while, and a frame that has begun must come to its end, without
// long pauses, and a large one at minRate at least.
type frameReader struct {
	ingest.FrameClock
	c       *stream.Conn
	head    []byte      // read before the agent was recognized
	charge  func(n int) // after n bytes: keeps to a rate
	silence time.Duration
	most    time.Duration
	set     deadline
}

// minRate is how many bytes a second a large frame must bring. While others wait for
// memory it must bring more, see ingest.Arrival.
const minRate = 8 << 10

// expect prepares for the next frame.
func (r *frameReader) expect(silence, most time.Duration) {
	r.silence, r.most = silence, most
	r.Reset()
}

func (r *frameReader) Read(p []byte) (n int, err error) {
	if len(r.head) > 0 {
		n = copy(p, r.head)
		r.head = r.head[n:]
	} else {
		at, change := r.set.move(r.deadline(), r.silence/deadlineSlack)
		if change && !r.c.SetReadDeadline(at) || r.c.Woken() {
			return 0, os.ErrDeadlineExceeded
		}
		n, err = r.c.Net().Read(p)
	}
	if n > 0 {
		r.Add(n)
		r.charge(n)
	}
	return n, err
}

func (r *frameReader) deadline() time.Time {
	began, ok := r.Began()
	if !ok {
		return time.Now().Add(r.silence)
	}
	end := began.Add(r.most + time.Duration(r.Bytes())*time.Second/minRate)
	if pause := time.Now().Add(r.silence / 2); pause.Before(end) {
		return pause
	}
	return end
}
