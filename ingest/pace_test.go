package ingest

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is agents that have lines at a steady rate and send what has come when the answer to the batch
// before came. It returns the batches and lines a second, and the longest wait for an answer, of the
// last of several seconds.
func crowd(agents int, rate float64, seconds int) (batches, lines float64, longest time.Duration) {
	var p answerPace
	var mu sync.Mutex
	var running sync.WaitGroup
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for n := range agents {
		running.Go(func() {
			every := time.Duration(float64(time.Second) / rate)
			due := time.Now().Add(every * time.Duration(n) / time.Duration(agents))
			for time.Now().Before(end) {
				time.Sleep(time.Until(due))
				sent := 0
				for now := time.Now(); !due.After(now); due = due.Add(every) {
					sent++
				}
				delay := p.next(time.Now())
				if mu.Lock(); time.Until(end) < time.Second {
					batches++
					lines += float64(sent)
					longest = max(longest, delay)
				}
				mu.Unlock()
				time.Sleep(delay)
			}
		})
	}
	running.Wait()
	return batches, lines, longest
}

func TestPace(t *testing.T) {
	f := func(name string, agents int, rate float64, least, most float64, delayed bool) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				batches, lines, longest := crowd(agents, rate, 3)
				t.Logf("%.0f batches with %.0f lines a second, answers wait up to %v", batches, lines, longest)
				if batches < least || batches > most {
					t.Errorf("%.0f batches a second, want %.0f to %.0f", batches, least, most)
				}
				if longest > paceMost || (longest > 0) != delayed {
					t.Errorf("answers wait up to %v", longest)
				}
				if want := float64(agents) * rate; lines < 0.9*want || lines > 1.1*want {
					t.Errorf("%.0f lines a second, want %.0f", lines, want)
				}
			})
		})
	}
	f("few", 200, 19, 3_700, 4_100, false)
	f("below the rate", 900, 20, 17_000, 19_000, false)
	f("above it", 500, 100, 16_000, 24_000, true)
	f("as much as may be", 10_000, 20, 40_000, 60_000, true) // five a second of each
}

// TestPaceEnds: after a crowd nothing waits any more, and the first batch after a pause does not.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p answerPace
		for range 30_000 {
			p.next(time.Now())
			time.Sleep(10 * time.Microsecond)
		}
		if d := p.next(time.Now()); d != paceMost {
			t.Fatalf("with 100,000 batches a second that do not become fewer: %v, want %v", d, paceMost)
		}
		time.Sleep(3 * paceWindow)
		if d := p.now(time.Now()); d != 0 {
			t.Errorf("shown is %v, though no batches come", d)
		}
		if d := p.next(time.Now()); d != 0 {
			t.Errorf("the first batch after a pause waits for %v", d)
		}
	})
}

// TestPaceClockSetBack: answers do not wait longer because the clock was set back.
func TestPaceClockSetBack(t *testing.T) {
	var p answerPace
	now := time.Unix(1e9, 0)
	for p.delay.Load() == 0 {
		now = now.Add(paceWindow / 10_000)
		p.next(now)
	}
	now = now.Add(-time.Hour)
	for range 10 {
		now = now.Add(2 * paceWindow)
		p.next(now)
	}
	if d := p.next(now); d > 0 {
		t.Errorf("an answer waits for %v, with five batches a second", d)
	}
}

// TestPaceGrid: answers that wait end together, none later than it may.
func TestPaceGrid(t *testing.T) {
	for n := range 10_000 {
		now := time.Unix(1e9, int64(n)*7_919_513)
		for _, delay := range []time.Duration{paceLeast, paceFirst, paceMost} {
			d := onGrid(delay, now)
			if d < 0 || d > delay || d < delay-paceGrid || d > 0 && now.Add(d).UnixNano()%int64(paceGrid) != 0 {
				t.Fatalf("%v at %v becomes %v", delay, now, d)
			}
		}
	}
}
