package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/internal/wire"
)

// The answers to the frames of one stream come in the order of the frames. Where the log does not say when it has a frame,
// the next is appended when that has its outcome.
func TestChainAnswers(t *testing.T) {
	k := ingesttest.NewRecorder()
	k.Outcome = func(_ context.Context, b wire.Batch) error {
		switch b.Offset / 2 % 3 {
		case 0:
			return &wire.Expected{Known: true, Watermark: wire.Watermark{Point: wire.Point{Offset: b.Offset}}}
		case 1:
			return errors.New("odd")
		}
		return nil
	}
	addr := ingesttest.Start(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
	c := ingesttest.Greet(t, addr, "a", ingesttest.InstanceA, 1)
	c.Send(ingesttest.Data(7, 0, "x\n"))
	for at := int64(2); at < 1000; at += 2 {
		c.Send(ingesttest.Data(7, at, "x\n"))
		kind := []wire.Kind{wire.KindNack, wire.KindLater, wire.KindAck}[(at-2)/2%3]
		if f := c.Want(kind); kind == wire.KindNack && f.Answer.Expected.Offset != at-2 {
			t.Fatalf("the answer to the frame at %d is that to %d", at-2, f.Answer.Expected.Offset)
		}
	}
}

// Where the log does not say when it has a frame, a stream has one Append at a time, though two of its frames are here.
func TestChainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, hold, calls := ingesttest.NewRecorder(), make(chan struct{}), 0
		k.Outcome = func(context.Context, wire.Batch) error { calls++; <-hold; return nil }
		p := ingesttest.StartPipes(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
		c := p.Join(t, ingesttest.Addr(1), 0)
		c.Conn.Write(ingesttest.Data(7, 0, "one\n"))
		c.Conn.Write(ingesttest.Data(7, 4, "two\n"))
		synctest.Wait()
		if calls != 1 || c.Got(wire.KindAck) != 0 {
			t.Errorf("%d calls at once, %d answers", calls, c.Got(wire.KindAck))
		}
		close(hold)
		synctest.Wait()
		if k.Text() != "one\ntwo\n" || c.Got(wire.KindAck) != 2 {
			t.Errorf("kept %q, %d answers", k.Text(), c.Got(wire.KindAck))
		}
		c.Conn.Close()
	})
}

// The second of two frames is appended when the log has the first, and answered behind it, though its outcome is known
// before.
func TestChainAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, hold := ingesttest.NewRecorder(), make(chan struct{})
		k.Outcome = func(_ context.Context, b wire.Batch) error {
			if b.Offset == 0 {
				b.Next()
				<-hold
				return errors.New("odd")
			}
			return nil
		}
		p := ingesttest.StartPipes(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
		c := ingesttest.NewClient(t, p.Dial(ingesttest.Addr(1), 1))
		c.Send(ingesttest.Hello("a", ingesttest.InstanceA, 1))
		c.Want(wire.KindWelcome)
		c.Send(ingesttest.Data(7, 0, "one\n"))
		c.Send(ingesttest.Data(7, 4, "two\n"))
		k.WaitText(t, "two\n")
		c.Send(ingesttest.Data(8, 2, "y\n")) // its answer is there, those before it would be
		c.Want(wire.KindAck)
		close(hold)
		c.Want(wire.KindLater)
		c.Want(wire.KindAck)
		c.Conn.Close()
	})
}

// An agent that has more frames of a stream without an answer than the welcome says is sent away.
func TestChainTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, hold := ingesttest.NewRecorder(), make(chan struct{})
		k.Outcome = func(context.Context, wire.Batch) error { <-hold; return nil }
		p := ingesttest.StartPipes(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
		c := ingesttest.NewClient(t, p.Dial(ingesttest.Addr(1), 1))
		c.Send(ingesttest.Hello("a", ingesttest.InstanceA, 1))
		longest := c.Want(wire.KindWelcome).Welcome.Chain
		if longest != 2 {
			t.Errorf("the welcome allows %d", longest)
		}
		for i := range int64(longest) {
			c.Send(ingesttest.Data(7, 2*i, "x\n"))
		}
		c.Send(ingesttest.Data(8, 0, "y\n")) // another stream is not concerned
		c.Send(ingesttest.Data(7, 2*int64(longest), "x\n"))
		synctest.Wait()
		close(hold)
		for range longest + 1 {
			c.Want(wire.KindAck)
		}
		c.WantFault("without an answer")
		c.Conn.Close()
	})
}

// The answer to a frame that must make way for others comes behind that to the frame before it in its stream, whose
// outcome takes longer.
func TestChainDismissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, hold := ingesttest.NewRecorder(), make(chan struct{})
		k.Outcome = func(context.Context, wire.Batch) error { <-hold; return ingesttest.ErrForget }
		p := ingesttest.StartPipes(t, &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome})
		const agents = 100
		answers := make(chan []wire.Kind, agents)
		for i := range agents {
			nc := p.Dial(ingesttest.Addr(1), i+1)
			go func() { // ends with the connection
				defer nc.Close()
				var kinds []wire.Kind
				d := wire.NewDecoder(nc)
				for f := (wire.Frame{}); d.Next(&f) == nil; {
					if f.Kind != wire.KindPong {
						kinds = append(kinds, f.Kind)
					}
				}
				answers <- kinds
			}()
			nc.Write(ingesttest.Hello(fmt.Sprint("a", i), ingesttest.InstanceA, 1))
			nc.Write(ingesttest.Data(7, 0, "x\n"))
			go nc.Write(ingesttest.Data(7, 2, ingesttest.Lines(wire.MaxText))[:300<<10]) // ends with the connection
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		close(hold)
		later := 0
		for range agents {
			kinds := <-answers
			if want := []wire.Kind{wire.KindWelcome, wire.KindAck, wire.KindLater, wire.KindFault}; slices.Equal(kinds, want) {
				later++
			} else if !slices.Equal(kinds, []wire.Kind{wire.KindWelcome, wire.KindAck, wire.KindFault}) {
				t.Errorf("the answers are %v", kinds)
			}
		}
		if later < agents/2 {
			t.Errorf("%d frames had to make way", later)
		}
	})
}
