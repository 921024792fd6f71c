package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/rig"
)

// auditor reads the journals of a cluster along: what an owner makes known. Once a later owner has
// claimed a partition, no earlier one may.
type auditor struct {
	nc      *nats.Conn
	reading jetstream.ConsumeContext
	said    *said

	mu      sync.Mutex
	epochs  map[string]uint64 // of the last claim, by the subject of the journal
	entries int
	wrong   []string
}

// newAuditor begins to read. It waits until a member has made the stream.
func newAuditor(servers *rig.NATS) (*auditor, error) {
	nc, err := servers.Connect()
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	a := &auditor{nc: nc, epochs: make(map[string]uint64)}
	if a.said, err = hear(nc); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		journals, err := js.OrderedConsumer(ctx, "fanin-"+natsStream+"-journal", jetstream.OrderedConsumerConfig{})
		if err == nil {
			a.reading, err = journals.Consume(a.read)
		}
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read the journals: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// read takes an entry in.
func (a *auditor) read(m jetstream.Msg) {
	var e struct {
		Kind  string
		Epoch uint64
		Owner string
	}
	err := json.Unmarshal(m.Data(), &e)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries++
	switch claimed := a.epochs[m.Subject()]; {
	case err != nil:
		a.wrong = append(a.wrong, fmt.Sprintf("%s: %v", m.Subject(), err))
	case e.Epoch < claimed || e.Kind == "claim" && e.Epoch == claimed:
		a.wrong = append(a.wrong, fmt.Sprintf("%s: %s of epoch %d behind the claim of epoch %d", m.Subject(), e.Kind, e.Epoch, claimed))
	case e.Kind == "claim":
		a.epochs[m.Subject()] = e.Epoch
	}
}

// end ends the reading, and returns what was wrong.
func (a *auditor) end() error {
	a.reading.Stop()
	a.nc.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.entries == 0 {
		return fmt.Errorf("no entry of a journal was seen: nothing was audited")
	}
	if len(a.wrong) > 0 {
		return fmt.Errorf("an owner that was replaced made something known:\n%s", strings.Join(a.wrong, "\n"))
	}
	return nil
}
