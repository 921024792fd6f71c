package ship

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/internal/natstest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// collectNATS runs the real listener over a keeper in memory.
func collectNATS(t *testing.T, s *natstest.Server, change ...func(*ingest.NATS)) (*appendertest.Memory, *ingest.NATS) {
	t.Helper()
	m := &appendertest.Memory{Log: wire.NewStreamID(), Incarnation: wire.NewStreamID()}
	n := &ingest.NATS{Conn: s.Connect(), Out: m, Welcome: m.Welcome, Agents: "fanin"}
	for _, f := range change {
		f(n)
	}
	done := make(chan struct{})
	go func() { n.Serve(); close(done) }() // ended by the cleanup
	t.Cleanup(func() { n.Shutdown(bounded(t)); <-done })
	return m, n
}

func throughStream(n *ingest.NATS) { n.Stream, n.Create = "BATCHES", true }

// connectNATS runs an agent's side.
func connectNATS(t *testing.T, s *natstest.Server, change ...func(*NATS)) *NATS {
	t.Helper()
	n := &NATS{URL: s.ClientURL(), Hello: wire.Hello{Agent: "web.example.com", Instance: wire.NewStreamID(), Run: 1},
		MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond}
	for _, f := range change {
		f(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }() // ended by the cleanup
	t.Cleanup(func() { cancel(); <-done })
	return n
}

func viaStream(n *NATS) { n.Stream = "BATCHES" }

func TestAppenderOverNATS(t *testing.T) {
	s := natstest.New(t)
	count := 0
	appendertest.Run(t, func(t *testing.T) wire.Appender {
		count++
		p := wire.Subjects(fmt.Sprintf("fanin%d", count))
		collectNATS(t, s, func(n *ingest.NATS) { n.Agents = p })
		return connectNATS(t, s, func(n *NATS) { n.Subject = p })
	})
}

func TestAppenderOverJetStream(t *testing.T) {
	s := natstest.New(t)
	count := 0
	appendertest.Run(t, func(t *testing.T) wire.Appender {
		count++
		p := wire.Subjects(fmt.Sprintf("fanin%d", count))
		stream := fmt.Sprintf("BATCHES%d", count)
		collectNATS(t, s, throughStream, func(n *ingest.NATS) { n.Agents, n.Stream = p, stream })
		return connectNATS(t, s, func(n *NATS) { n.Subject, n.Stream = p, stream })
	})
}

func openNATS(t *testing.T, n *NATS) wire.StreamID {
	t.Helper()
	id := wire.NewStreamID()
	if err := n.Append(bounded(t), wire.Batch{Op: wire.OpOpen, Stream: id, Epoch: 1, Source: "app"}); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestNATSRestart: a server that goes and comes back loses nothing of what was
// acknowledged, and what was not is taken when it is sent again.
func TestNATSRestart(t *testing.T) {
	for name, change := range map[string]struct {
		collector []func(*ingest.NATS)
		agent     []func(*NATS)
	}{"core": {}, "stream": {[]func(*ingest.NATS){throughStream}, []func(*NATS){viaStream}}} {
		t.Run(name, func(t *testing.T) {
			s := natstest.New(t)
			m, _ := collectNATS(t, s, change.collector...)
			n := connectNATS(t, s, change.agent...)
			id := openNATS(t, n)
			want, at, before := "", int64(0), wire.Hash(0)
			for i := range 20 {
				if i%5 == 4 {
					s.Stop()
					s.Start()
				}
				text := fmt.Sprintf("line %d\n", i)
				want += text
				b := wire.Batch{Stream: id, Epoch: 1, Offset: at, End: at + int64(len(text)), Before: before, After: wire.TailHash([]byte(want)), Text: []byte(text)}
				for {
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					err := n.Append(ctx, b)
					cancel()
					if err == nil {
						break
					}
					if errors.Is(err, wire.ErrRefused) || errors.As(err, new(*wire.Expected)) || errors.Is(err, context.DeadlineExceeded) {
						t.Fatal(err)
					}
				}
				at, before = b.End, b.After
			}
			if got := string(m.Text(id)); got != want {
				t.Errorf("kept %q, want %q", got, want)
			}
		})
	}
}

// TestNATSNoCollector: what is wrong is said in words that help.
func TestNATSNoCollector(t *testing.T) {
	s := natstest.New(t)
	n := connectNATS(t, s)
	for !strings.Contains(n.Trouble(), "no collector listens") {
		time.Sleep(time.Millisecond)
	}
	s.Stop()
	for !strings.Contains(n.Trouble(), "refused") && !strings.Contains(n.Trouble(), "lost") {
		time.Sleep(time.Millisecond)
	}
}
