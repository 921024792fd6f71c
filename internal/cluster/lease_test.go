package cluster

import (
	"context"
	"errors"
	"testing"
	"time"
)

// While the lease lasts, nothing is asked. When it has run out, as after a pause, the owner asks
// before it commits, and stops where another one owns the partition.
func TestCheck(t *testing.T) {
	now := time.Now()
	l := newLease(3 * time.Second)
	l.now = func() time.Time { return now }
	asked, answer := 0, error(nil)
	o := &Ownership{lease: l, owns: func(context.Context) error { asked++; return answer }}
	check := func(want error, wantAsked int) {
		t.Helper()
		asked = 0
		if err := o.Check(t.Context()); !errors.Is(err, want) || asked != wantAsked {
			t.Errorf("%v, asked %d times; want %v, %d", err, asked, want, wantAsked)
		}
	}
	check(nil, 1) // there was no sign of life yet
	l.renew(now.Add(-time.Second))
	check(nil, 0)
	l.renew(now.Add(-2 * time.Second)) // an older one that arrives late
	now = now.Add(1900 * time.Millisecond)
	check(nil, 0)
	now = now.Add(time.Minute) // a pause
	check(nil, 1)
	away := errors.New("away")
	answer = away
	check(away, 1)
	if o.Lost() {
		t.Error("that the bucket does not answer is no other owner")
	}
	answer = ErrFenced
	check(ErrFenced, 1)
	l.renew(now)
	check(ErrFenced, 0) // it stays so
}
