package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/natstest"
	"fanin/internal/waittest"
)

// TestMemberNotices: a notice is in the tenure of its partition while no lines come, and the journal then rests.
func TestMemberNotices(t *testing.T) {
	server := natstest.New(t)
	config := filepath.Join(t.TempDir(), "collector.toml")
	text := fmt.Sprintf("[collector.log]\npath = %q\nsync = \"none\"\n[collector.cluster]\nurl = %q\nname = \"LOGS\"\n"+
		"partitions = 1\ncreate = true\n", filepath.Join(t.TempDir(), "{partition}", "all.log"), server.ClientURL())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := (&options{config: config}).load()
	if err != nil {
		t.Fatal(err)
	}
	m := newMember(s, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.run(ctx) }() // ends below
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	waittest.Until(t, "the partition", func() bool { x := m.parts()[0]; return x != nil && x.isOpen() })
	js := server.JetStream(server.Connect())
	last := func() (at string, number uint64) {
		stream, err := js.Stream(t.Context(), "fanin-LOGS-journal")
		if err != nil {
			t.Fatal(err)
		}
		var msg *jetstream.RawStreamMsg
		if msg, err = stream.GetLastMsgForSubject(t.Context(), "fanin-LOGS-journal.0"); err != nil {
			t.Fatal(err)
		}
		var e struct{ At string }
		if err := json.Unmarshal(msg.Data, &e); err != nil {
			t.Fatal(err)
		}
		return e.At, msg.Sequence
	}
	k := m.parts()[0].sink
	before := k.End()
	k.Notice("GAP lines=1")
	waittest.Until(t, "the notice", func() bool { return k.End() != before })
	waittest.UntilEqual(t, "the end of the journal", k.End().String(), func() string { at, _ := last(); return at })
	_, number := last()
	time.Sleep(3 * time.Second)
	if _, now := last(); now != number {
		t.Errorf("the journal goes on from %d to %d while nothing comes", number, now)
	}
}
