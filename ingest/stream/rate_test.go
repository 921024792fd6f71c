package stream_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanin/ingest/ingesttest"
	"fanin/ingest/stream"
	"fanin/internal/wire"
)

// An address sends as fast as it may over any number of connections, plain or an
// agent's, and others are not slowed.
func TestMaxRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxRate: rate}}
		p := ingesttest.StartPipes(t, s)
		agent, other := p.Join(t, ingesttest.Addr(1), 9), p.Join(t, ingesttest.Addr(2), 10)
		began := time.Now()
		var senders sync.WaitGroup
		for n := range 4 {
			nc := p.Dial(ingesttest.Addr(1), n+1)
			senders.Go(func() { // ends when all is sent
				nc.Write([]byte(ingesttest.Lines(wire.MaxText)))
				nc.Close()
			})
		}
		senders.Go(func() { agent.Conn.Write(ingesttest.Frame(9, 1, wire.MaxText)) })
		other.Conn.Write(ingesttest.Frame(10, 1, rate/2))
		synctest.Wait()
		if other.Got(wire.KindAck) != 1 || time.Since(began) > 0 {
			t.Errorf("another address: %d answers after %v", other.Got(wire.KindAck), time.Since(began))
		}
		senders.Wait()
		took := time.Since(began)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if want := 5*wire.MaxText/rate - 1; took < time.Duration(want-1)*time.Second || took > time.Duration(want+1)*time.Second {
			t.Errorf("took %v, want %d s", took, want)
		}
		if agent.Got(wire.KindAck) != 1 || len(k.Text()) != 5*wire.MaxText+rate/2 || ingesttest.Metric(t, s.Metrics, "fanin_slowed_reads_total", "") == 0 {
			t.Errorf("%d answers, %d bytes kept, slowed %d times", agent.Got(wire.KindAck), len(k.Text()), ingesttest.Metric(t, s.Metrics, "fanin_slowed_reads_total", ""))
		}
		agent.Conn.Close()
		other.Conn.Close()
	})
}

// An agent of an address that has sent too much already is welcomed at once, and what its
// hello brought is charged then.
func TestMaxRateWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, head, much = 2000, 64, 16 << 10 // one read brings much, behind what recognizes the format
		k := ingesttest.NewRecorder()
		s := &ingesttest.TCP{Out: k, Welcome: ingesttest.Welcome, Limits: stream.Limits{MaxRate: rate}}
		p := ingesttest.StartPipes(t, s)
		lines := p.Dial(ingesttest.Addr(1), 1)
		lines.Write([]byte(ingesttest.Lines(head + much)))
		synctest.Wait()
		nc := p.Dial(ingesttest.Addr(1), 2)
		began, hello := time.Now(), ingesttest.Hello("a", ingesttest.InstanceA, 1)
		go nc.Write(hello) // ends with the connection
		var f wire.Frame
		d := wire.NewDecoder(nc)
		if err := d.Next(&f); err != nil || f.Kind != wire.KindWelcome || time.Since(began) > 0 {
			t.Errorf("the first frame is of kind %d, after %v: %v", f.Kind, time.Since(began), err)
		}
		go nc.Write(wire.AppendPing(nil, wire.KindPing, 7)) // ends with the connection
		for f.Kind != wire.KindPong || f.N != 7 {
			if err := d.Next(&f); err != nil {
				t.Fatal(err)
			}
		}
		want := time.Duration(much+len(hello)-rate) * time.Second / rate
		if took := time.Since(began); took < want || took > want+10*time.Millisecond {
			t.Errorf("the agent was read again after %v, want %v", took, want)
		}
		nc.Close()
		lines.Close()
	})
}
