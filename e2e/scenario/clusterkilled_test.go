package scenario

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/load"
	"fanin/e2e/rig"
)

// TestGroupOfKilledMember kills a member for good whose lines the workers had finished: they get what comes
// then from the next owner, and nothing again.
func TestGroupOfKilledMember(t *testing.T) {
	p := &Programs{Dir: t.TempDir()}
	var err error
	if p.Collector, p.Agent, err = rig.Build(p.Dir); err != nil {
		t.Fatal(err)
	}
	d, err := p.newCluster(Shape{Servers: 1, Members: 2, Partitions: 4, Agents: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer d.kill()
	time.Sleep(2 * time.Second)
	x, err := d.sent()
	if err != nil {
		t.Fatal(err)
	}
	if !finished(d.handOut(x), time.Minute) {
		t.Fatal("the workers do not get the lines")
	}
	time.Sleep(3 * time.Second) // within this time the bucket has how far they are
	d.members[1].Kill()
	const more = 40 // in all partitions, one line of each source
	err = d.withStreams(func(ctx context.Context, js jetstream.JetStream) error {
		for i := range more {
			x.Written[pushSources+i] = 1
			_, err := js.Publish(ctx, fmt.Sprintf("logs.more%d", i), load.Append(nil, pushSources+i, 0))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.handedOut(x, 30*time.Second); err != nil {
		t.Fatal(err)
	}
}
