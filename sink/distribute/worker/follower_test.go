package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fanin/sink/distribute/protocol"
)

// follows lets a worker find a cluster, and returns its next connections, one for each partition.
func follows(c *collector, partitions ...protocol.Place) map[string]*conn {
	(<-c.conns).send(protocol.Frame{Kind: protocol.KindFault, Reason: protocol.ReasonCluster})
	places := protocol.Places{Cluster: "c", Partitions: len(partitions), At: partitions}
	(<-c.conns).send(protocol.Frame{Kind: protocol.KindPlaces, Places: places})
	all := make(map[string]*conn)
	for range partitions {
		x := <-c.conns
		all[x.hello.Partition] = x
	}
	return all
}

// A partition of a cluster may refuse a worker for a while, such as for a bound: the worker goes on with the
// others. If all refuse it at first, it ends.
func TestRefusedByPartition(t *testing.T) {
	here := []protocol.Place{{Partition: 0, Address: "a:1"}, {Partition: 1, Address: "a:1"}}
	refuse := protocol.Frame{Kind: protocol.KindFault, Reason: "too many workers"}
	synctest.Test(t, func(t *testing.T) {
		c, stop, ended := start(t, &Worker{Address: "a:1", Handle: func(context.Context, *Delivery) error { return nil }})
		all := follows(c, here...)
		all["0"].send(refuse)
		synctest.Wait()
		x := all["1"]
		x.write(protocol.AppendWelcome(nil, &protocol.Welcome{Group: "g", Lease: lease}))
		x.deliver(1, "one")
		x.want("ack 1 0-1")
		go func() { // ends with the test
			for x := range c.conns {
				x.send(refuse)
			}
		}()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		close(c.conns)
	})
	synctest.Test(t, func(t *testing.T) {
		c, _, ended := start(t, &Worker{Address: "a:1", Handle: func(context.Context, *Delivery) error { return nil }})
		for _, x := range follows(c, here...) {
			x.send(refuse)
		}
		go func() { // ends with the test
			for x := range c.conns {
				x.send(refuse)
			}
		}()
		var refused *RefusedError
		if err := <-ended; !errors.As(err, &refused) {
			t.Errorf("the worker ended with %v", err)
		}
		close(c.conns)
	})
}

// A delivery that waits for the turn of its connection is touched, until the collector takes it back: then the
// next one of that connection waits.
func TestTakenBackBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := start(t, &Worker{Address: "a:1", Handle: func(context.Context, *Delivery) error {
			time.Sleep(2*lease - lease/6)
			return nil
		}})
		all := follows(c, protocol.Place{Partition: 0, Address: "a:1"}, protocol.Place{Partition: 1, Address: "a:1"})
		for _, x := range all {
			x.write(protocol.AppendWelcome(nil, &protocol.Welcome{Group: "g", Lease: lease}))
		}
		all["0"].deliver(1, "one")
		synctest.Wait()
		x := all["1"]
		x.deliver(1, "one")
		x.deliver(2, "two")
		x.want("touch 1 0--1")
		x.send(protocol.Frame{Kind: protocol.KindLost, N: 1, From: 0, To: 1, Reason: "the lease ended"})
		x.want("touch 2 0--1", "touch 2 0--1", "touch 2 0--1", "touch 2 0--1", "ack 2 0-1")
		all["0"].want("ack 1 0-1")
	})
}
