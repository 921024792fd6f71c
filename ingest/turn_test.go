package ingest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"fanin/internal/wire"
)

// TestTurns: frames of each stream are appended one at a time, and answered in their order, also while their numbers come down
// to none and up again.
func TestTurns(t *testing.T) {
	var s Sessions
	var all sync.WaitGroup
	for stream := range byte(4) {
		all.Go(func() { // ends with its last frame
			var mu sync.Mutex
			var flying sync.WaitGroup
			var order []int
			appending := 0
			free := make(chan struct{}, wire.MaxChain)
			for n := range 3000 {
				free <- struct{}{}
				turn, ok := s.StartFrame("a", wire.StreamID{stream, 1})
				if !ok {
					t.Errorf("frame %d may not start", n)
					return
				}
				flying.Go(func() { // ends with its answer
					turn.Wait()
					mu.Lock()
					if appending++; appending != 1 {
						t.Errorf("%d frames are appended at once", appending)
					}
					appending--
					mu.Unlock()
					turn.Decided()
					if rand.IntN(2) == 0 {
						<-free // the sender has the answer before this goroutine goes on
						defer turn.Answered()
					} else {
						defer func() { turn.Answered(); <-free }()
					}
					mu.Lock()
					order = append(order, n)
					mu.Unlock()
				})
			}
			flying.Wait()
			if len(order) != 3000 || !slices.IsSorted(order) {
				t.Errorf("stream %d: %d answers, in order %v", stream, len(order), slices.IsSorted(order))
			}
		})
	}
	all.Wait()
	if len(s.lanes) > 0 {
		t.Errorf("%d lanes are left", len(s.lanes))
	}
}

// TestTurnsOfOneStream: the third frame of a stream waits for an outcome; another owner's stream is another one.
func TestTurnsOfOneStream(t *testing.T) {
	var s Sessions
	id := wire.StreamID{1}
	first, ok := s.StartFrame("a", id)
	second, ok2 := s.StartFrame("a", id)
	if _, ok3 := s.StartFrame("a", id); !ok || !ok2 || ok3 {
		t.Error(ok, ok2, ok3)
	}
	if other, ok := s.StartFrame("b", id); !ok {
		t.Error("the same id of another owner is in the way")
	} else {
		other.Wait()
		other.Answered()
	}
	first.Wait()
	first.Decided()
	third, ok := s.StartFrame("a", id)
	if !ok {
		t.Error("no third frame, though the first has its outcome")
	}
	first.Answered()
	second.Wait()
	second.Answered()
	third.Wait()
	third.Decided()
	fourth, ok := s.StartFrame("a", id) // as a chain: it does not follow from the answer to the third
	if !ok || fourth.before != third {
		t.Error("the fourth frame does not wait for the answer to the third")
	}
	third.Answered()
	fourth.Wait()
	fourth.Answered()
	if len(s.lanes) > 0 || s.frames.Load() != 5 || s.chained.Load() != 3 {
		t.Errorf("%d lanes are left, %d frames, %d chained", len(s.lanes), s.frames.Load(), s.chained.Load())
	}
	var none *Turn
	none.Wait()
	none.Decided()
	none.Answered()
}

// TestTurnAfterAppended: a frame over a transport that answers in any order ends after the one before it, which the
// Appender has and which has no outcome yet. So the frame after both still waits for the answers to them.
func TestTurnAfterAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Sessions
		id := wire.StreamID{1}
		first, _ := s.StartFrame("a", id)
		other, _ := s.StartFrame("a", id)
		first.Appended()
		other.Wait()
		go other.Answered() // ends with the answer to the first
		synctest.Wait()
		last, ok := s.StartFrame("a", id)
		if !ok || last.before != other {
			t.Fatal("the last frame does not wait for those before it", ok)
		}
		first.Decided()
		first.Answered()
		last.WaitAnswer()
		last.Answered()
		if len(s.lanes) != 0 {
			t.Errorf("%d lanes are left", len(s.lanes))
		}
	})
}
