package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/rig"
)

// TestSplit: a server of three whose links to the others are severed has no part in what these do, so
// there is no way past the links; when they are healed, it has.
func TestSplit(t *testing.T) {
	program, err := rig.BuildNATS(programs.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	servers, err := rig.NewSplitNATS(program, t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Kill()
	if err := servers.Start(); err != nil {
		t.Fatal(err)
	}
	nc, err := servers.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	const alone = 0
	own, err := nats.Connect(strings.Split(servers.URL, ",")[alone], nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	links := []*rig.Cuts{servers.Routes[alone][1], servers.Routes[alone][2], servers.Routes[1][alone], servers.Routes[2][alone]}
	for _, sever := range []func(*rig.Cuts){(*rig.Cuts).Refuse, (*rig.Cuts).Hush} {
		for _, c := range links {
			sever(c)
		}
		time.Sleep(3 * time.Second) // for a way past the links to be found
		if publishes(own, 3*time.Second) {
			t.Error("a message was stored by a server that is alone")
		}
		for _, c := range links {
			c.Heal()
		}
		if !publishes(own, 30*time.Second) {
			t.Error("nothing is stored when the links are healed")
		}
	}
}

// publishes reports whether a message is stored within a time.
func publishes(nc *nats.Conn, within time.Duration) bool {
	js, err := jetstream.New(nc)
	for end := time.Now().Add(within); err == nil && time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := js.Publish(ctx, "s", nil)
		cancel()
		if err == nil {
			return true
		}
	}
	return false
}
