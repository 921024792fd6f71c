package stream_test

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/waittest"
)

// TestBlockWhileMemoryIsShort: a connection that waits for memory asks for as much as filled its last blocks,
// up to a bound, so that the turns of all others come soon.
func TestBlockWhileMemoryIsShort(t *testing.T) {
	budget := &ingest.Budget{Limit: 1 << 20}
	type sizes struct{ first, idle, busy int }
	got := make(chan sizes, 1)
	serve := func(ctx context.Context, c *stream.Conn) error {
		in := stream.NewIntake(c, 256<<10)
		s := sizes{first: blockAfterWait(t, ctx, budget, in)}
		in.Release(nil)
		s.idle = blockAfterWait(t, ctx, budget, in) // as before: no block has been full
		for len(in.Block) < 64<<10 {                // each is full
			for !in.Full() {
				if _, err := in.Fill(ctx, true); err != nil {
					t.Error(err)
					return err
				}
			}
			in.Adapt()
			in.Release(nil)
			if _, err := in.Fill(ctx, true); err != nil {
				t.Error(err)
				return err
			}
		}
		in.Release(nil)
		s.busy = blockAfterWait(t, ctx, budget, in)
		in.Release(nil)
		got <- s
		return nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &stream.Listener{Formats: []stream.Format{{Name: "x", Serve: serve}}, Budget: budget}
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ln) }() // ends by Shutdown
	defer func() {
		l.Shutdown(context.Background())
		<-ended
	}()
	nc := ingesttest.Dial(t, ln.Addr().String())
	go nc.Write(bytes.Repeat([]byte("x"), 1<<20)) // ends with the connection
	select {
	case s := <-got:
		if want := (sizes{4 << 10, 4 << 10, 16 << 10}); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	case <-time.After(waittest.Limit):
		t.Fatal("the connection was not read")
	}
}

// blockAfterWait returns the size of the block that in reads into after it has waited for memory.
func blockAfterWait(t *testing.T, ctx context.Context, budget *ingest.Budget, in *stream.Intake) int {
	t.Helper()
	for end := time.Now().Add(waittest.Limit); in.Unread() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // without bytes to read it needs no block
	}
	all := budget.TryAcquire(1 << 20)
	if all == nil {
		t.Error("the budget is in use")
		return 0
	}
	go func() { // ends when in waits, or soon
		for end := time.Now().Add(waittest.Limit); budget.Stalled() == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		budget.Release(all)
	}()
	if _, err := in.Fill(ctx, true); err != nil {
		t.Error(err)
	}
	return len(in.Block)
}
