package nats

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/natsconn"
)

// health is what keeps messages from being accepted now.
type health struct {
	troubles ingest.Troubles

	mu          sync.Mutex
	unreachable error // why the latest attempt to connect failed

	subscribing sync.Mutex // held for one subscription, see subscribe
}

// parts are the parts of the input that have a health.
func (n *Input) parts() (all []string) {
	if n.servesAgents() {
		all = append(all, agentsPart)
	}
	if n.Stream.Name != "" {
		return append(all, n.streamPart())
	}
	for _, subject := range n.Plain.Subjects {
		all = append(all, subjectPart(subject))
	}
	return all
}

const agentsPart = "agents"

func (n *Input) streamPart() string { return "stream " + n.Stream.Name }

func subjectPart(subject string) string { return "subject " + subject }

// Trouble returns what keeps messages from being accepted now; "": nothing.
func (n *Input) Trouble() string {
	n.setUp()
	if !n.Conn.IsConnected() {
		n.health.mu.Lock()
		defer n.health.mu.Unlock()
		return fmt.Sprintf("not connected: %v", cmp.Or(n.health.unreachable, errors.New("still trying")))
	}
	return n.health.troubles.String()
}

// setTrouble stores what is wrong with a part, and logs it if that is news; nil: nothing.
func (n *Input) setTrouble(part string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	before := n.health.troubles.Set(part, text)
	switch {
	case before == text, n.life.Draining():
	case err != nil:
		n.Log.Warn("messages are not accepted; trying again", "from", part,
			"server", n.Conn.ConnectedUrlRedacted(), "err", err)
	default:
		n.Log.Info("messages are accepted", "from", part, "server", n.Conn.ConnectedUrlRedacted())
	}
}

// connected waits for the server; false: the input ends.
func (n *Input) connected() bool {
	return natsconn.WaitConnected(n.life.Receiving, n.Conn, n.Unreachable) == nil
}

// Unreachable reports the outcome of an attempt to connect, nil: it is connected. It is for
// the connection's handlers. An outage is logged once, whatever the reasons are.
func (n *Input) Unreachable(nc *nats.Conn, err error) {
	n.setUp()
	n.health.mu.Lock()
	news := err != nil && n.health.unreachable == nil
	n.health.unreachable = err
	n.health.mu.Unlock()
	if news {
		n.Log.Warn("the NATS server cannot be reached; trying again",
			"server", strings.Join(nc.Servers(), ","), "err", err)
	}
}

// Forbidden reports what the server forbids; nil: a new connection was made, and nothing is
// known to be forbidden. It is for the connection's handlers. A forbidden subscription is
// reported to its caller, see subscribe.
func (n *Input) Forbidden(f *natsconn.ForbiddenError) {
	n.setUp()
	switch {
	case f == nil:
		n.setTrouble("permissions", nil)
	case f.Publish:
		n.setTrouble("permissions", f)
	}
}

// subscribe makes a subscription and returns what the server answers. Only one is made at a
// time, so that the answer to one is not taken for another's.
func (n *Input) subscribe(subject string, subscribe func() error) error {
	n.health.subscribing.Lock()
	defer n.health.subscribing.Unlock()
	before := n.Conn.LastError()
	err := subscribe()
	if err == nil {
		err = n.Conn.Flush()
	}
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := n.Conn.LastError(); err != nil && err != before {
		if f := natsconn.AsForbidden(err); f != nil && !f.Publish && f.Subject == subject {
			return f
		}
	}
	return nil
}
