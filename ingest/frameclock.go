package ingest

import (
	"sync/atomic"
	"time"
)

// FrameClock measures the time that the sender of a frame has had. It stands still
// while the collector itself does not read. Its zero value is ready.
type FrameClock struct {
	began  atomic.Int64 // when the first byte came, UnixNano; 0: none did
	paused atomic.Int64 // since when the collector does not read; 0: it does
	bytes  atomic.Int64 // that have come
}

// Reset prepares the clock for the next frame.
func (k *FrameClock) Reset() {
	k.began.Store(0)
	k.bytes.Store(0)
}

// Add counts n bytes of the frame. The first ones start the clock.
func (k *FrameClock) Add(n int) {
	k.start()
	k.bytes.Add(int64(n))
}

// start starts the clock if it does not run: no byte of the frame had to be waited for.
func (k *FrameClock) start() { k.began.CompareAndSwap(0, time.Now().UnixNano()) }

// Began returns when the frame began; ok is false if it has not.
func (k *FrameClock) Began() (at time.Time, ok bool) {
	began := k.began.Load()
	return time.Unix(0, began), began != 0
}

// Bytes returns how many bytes of the frame have come.
func (k *FrameClock) Bytes() int64 { return k.bytes.Load() }

// Pause stops the clock: the collector waits for itself.
func (k *FrameClock) Pause() { k.paused.Store(time.Now().UnixNano()) }

// Resume leaves the time since Pause out.
func (k *FrameClock) Resume() {
	if began := k.began.Load(); began != 0 {
		k.began.Store(began + time.Now().UnixNano() - k.paused.Load())
	}
	k.paused.Store(0)
}

// Paused reports whether the collector does not read.
func (k *FrameClock) Paused() bool { return k.paused.Load() != 0 }

// age returns how long the sender has had.
func (k *FrameClock) age() time.Duration {
	now, began := time.Now().UnixNano(), k.began.Load()
	if since := k.paused.Load(); since != 0 {
		now = since
	}
	if began == 0 {
		return 0
	}
	return max(time.Duration(now-began), 0)
}
