package ingest

import (
	"os"
	"time"
)

// frameReader reads an agent's bytes and keeps its time: between frames it may
// be silent for a while, and a frame that has begun must come to its end, large
// ones at minRate at least.
type frameReader struct {
	c       *conn
	head    []byte // read before the agent was recognised
	silence time.Duration
	most    time.Duration
	began   time.Time // when the first bytes of the frame came; zero: none did
	got     int       // bytes since
	opening bool      // the frame's text has a block already
	err     error     // what ended the reading
}

// minRate is how many bytes a second a large frame must bring.
const minRate = 64 << 10

// expect says that the next bytes begin a frame.
func (r *frameReader) expect(silence, most time.Duration) {
	r.silence, r.most, r.began, r.got, r.opening = silence, most, time.Time{}, 0, false
}

func (r *frameReader) Read(p []byte) (n int, err error) {
	if len(r.head) > 0 {
		n = copy(p, r.head)
		r.head = r.head[n:]
	} else {
		if !r.c.setReadDeadline(r.deadline()) {
			r.err = os.ErrDeadlineExceeded
			return 0, r.err
		}
		n, err = r.c.nc.Read(p)
	}
	if n > 0 && r.began.IsZero() {
		r.began = time.Now()
	}
	r.got += n
	r.err = err
	return n, err
}

func (r *frameReader) deadline() time.Time {
	if r.began.IsZero() {
		return time.Now().Add(r.silence)
	}
	return r.began.Add(r.most + time.Duration(r.got)*time.Second/minRate)
}
