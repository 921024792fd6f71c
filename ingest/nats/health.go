package nats

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"fanin/internal/natsconn"
)

// health is what keeps messages from being accepted now.
type health struct {
	mu          sync.Mutex
	trouble     map[string]string // by the part of the input
	unreachable error             // why the latest attempt to connect failed

	subscribing sync.Mutex // held for one subscription, see subscribe
}

// notYet is the trouble of a part that has not begun.
const notYet = "not yet"

func (h *health) init(parts []string) {
	h.trouble = make(map[string]string)
	for _, part := range parts {
		h.trouble[part] = notYet
	}
}

// notYet notes that a part begins again.
func (h *health) notYet(part string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trouble[part] = notYet
}

// set stores what is wrong with a part, "": nothing. It returns what was wrong before.
func (h *health) set(part, trouble string) (before string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before = h.trouble[part]
	delete(h.trouble, part)
	if trouble != "" {
		h.trouble[part] = trouble
	}
	return before
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
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	if !n.Conn.IsConnected() {
		return fmt.Sprintf("not connected: %v", cmp.Or(n.health.unreachable, errors.New("still trying")))
	}
	var all []string
	for _, part := range slices.Sorted(maps.Keys(n.health.trouble)) {
		all = append(all, part+": "+n.health.trouble[part])
	}
	return strings.Join(all, "; ")
}

// setTrouble stores what is wrong with a part, and logs it if that is news; nil: nothing.
func (n *Input) setTrouble(part string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	before := n.health.set(part, text)
	switch {
	case before == text, n.life.draining():
	case err != nil:
		n.Log.Warn("messages are not accepted; trying again", "from", part,
			"server", n.Conn.ConnectedUrlRedacted(), "err", err)
	default:
		n.Log.Info("messages are accepted", "from", part, "server", n.Conn.ConnectedUrlRedacted())
	}
}

// connected waits for the server; false: the input ends.
func (n *Input) connected() bool {
	return natsconn.WaitConnected(n.life.receiving, n.Conn, n.Unreachable) == nil
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
