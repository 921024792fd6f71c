package ingest

import (
	"os"
	"sync/atomic"
	"time"
)

// frameReader reads an agent's bytes and keeps its time: between frames it may
// be silent for a while, and a frame that has begun must come to its end: without
// long pauses, and large ones at minRate at least.
type frameReader struct {
	FrameClock
	c       *conn
	slow    func(n int) // after n bytes: keeps to a rate
	head    []byte      // read before the agent was recognised
	silence time.Duration
	most    time.Duration
}

// minRate is how many bytes a second a large frame must bring. While others wait
// for memory it must bring more, see crowdRate.
const minRate = 8 << 10

// FrameClock is the time that the sender of a frame has had. It stands still while
// the collector itself does not read.
type FrameClock struct {
	began   atomic.Int64 // when the first byte came, UnixNano; 0: none did
	stopped atomic.Int64 // since when the collector does not read; 0: it does
	got     atomic.Int64 // bytes since
}

// start begins a frame, if no byte of it had to be waited for.
func (k *FrameClock) start() { k.began.CompareAndSwap(0, time.Now().UnixNano()) }

func (k *FrameClock) stop() { k.stopped.Store(time.Now().UnixNano()) }

// goOn leaves the time since stop out.
func (k *FrameClock) goOn() {
	if began := k.began.Load(); began != 0 {
		k.began.Store(began + time.Now().UnixNano() - k.stopped.Load())
	}
	k.stopped.Store(0)
}

// age is how long the sender has had.
func (k *FrameClock) age() time.Duration {
	now, began := time.Now().UnixNano(), k.began.Load()
	if since := k.stopped.Load(); since != 0 {
		now = since
	}
	if began == 0 {
		return 0
	}
	return max(time.Duration(now-began), 0)
}

// expect says that the next bytes begin a frame.
func (r *frameReader) expect(silence, most time.Duration) {
	r.silence, r.most = silence, most
	r.began.Store(0)
	r.got.Store(0)
}

func (r *frameReader) Read(p []byte) (n int, err error) {
	if len(r.head) > 0 {
		n = copy(p, r.head)
		r.head = r.head[n:]
	} else {
		if !r.c.setReadDeadline(r.deadline()) {
			return 0, os.ErrDeadlineExceeded
		}
		n, err = r.c.nc.Read(p)
	}
	if n > 0 {
		r.start()
		r.got.Add(int64(n))
		r.slow(n)
	}
	return n, err
}

func (r *frameReader) deadline() time.Time {
	began := r.began.Load()
	if began == 0 {
		return time.Now().Add(r.silence)
	}
	end := time.Unix(0, began).Add(r.most + time.Duration(r.got.Load())*time.Second/minRate)
	if pause := time.Now().Add(r.silence / 2); pause.Before(end) {
		return pause
	}
	return end
}
