package nats

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/internal/natstest"
	"fanin/internal/sequence"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/internal/wire/appendertest"
)

// atAppend is a log that does something else before its first append.
type atAppend struct {
	*appendertest.Memory
	once sync.Once
	do   func()
}

func (a *atAppend) Append(ctx context.Context, b wire.Batch) error {
	a.once.Do(a.do)
	return a.Memory.Append(ctx, b)
}

// A Rebuild reads what it is asked for. It ends with its context also while the server is away.
func TestRebuild(t *testing.T) {
	s := natstest.New(t)
	nc := s.Connect()
	log := func() *appendertest.Memory {
		return &appendertest.Memory{Log: wire.StreamID{7}, Incarnation: wire.StreamID{7}}
	}
	_, stop := own(t, s, 0, 1, log(), func(p *Partition) { p.Keep, p.Last = true, func() (e sequence.Entry) { return e } })
	var all []string
	for i := range 2*groupMessages + 10 {
		all = append(all, fmt.Sprintf("line %d", i))
	}
	publishStored(t, nc, subjectOf(0), all...)
	stop()
	rebuild := func(ctx context.Context, do func()) (string, error) {
		a := &atAppend{Memory: log(), do: do}
		n := &Input{Conn: s.Connect(), Out: a, Welcome: a.Welcome, Agents: AgentOptions{Subjects: "fanin"},
			Plain: PlainOptions{Subjects: []string{"logs.>"}}, Stream: StreamOptions{Name: "LOGS"},
			Refusals: RefusedStore{Dir: filepath.Join(t.TempDir(), "refused")}}
		err := n.Rebuild(ctx, 0, 2, 2, uint64(len(all)-1))
		return text(a.Memory, n), err
	}
	got, err := rebuild(t.Context(), func() {})
	if want := strings.Join(all[1:len(all)-1], "\n") + "\n"; got != want || err != nil {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { // ends with ctx
		_, err := rebuild(ctx, func() {
			s.Stop()
			time.AfterFunc(time.Second, cancel)
		})
		ended <- err
	}()
	waittest.Until(t, "the end", func() bool { return len(ended) > 0 })
	// The connection may be known to be away before the next request.
	if err := <-ended; !errors.Is(err, context.Canceled) && !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Error(err)
	}
}
