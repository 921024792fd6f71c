package collector

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/sink"
	"fanin/sink/depot"
	"fanin/sink/distribute"
	"fanin/sink/relay"

	zmqpub "fanin/sink/livetail/zmq"
)

// status is what `status --json` prints.
type status struct {
	Version  string           `json:"version"`
	Since    time.Time        `json:"since"`
	PID      int              `json:"pid"`
	Listen   []string         `json:"listen"`
	NATS     []serverStatus   `json:"nats,omitempty"`
	Redis    []serverStatus   `json:"redis,omitempty"`
	ZMQ      []serverStatus   `json:"zmq,omitempty"` // the sockets of one table
	Inputs   []inputStatus    `json:"inputs"`
	Config   configStatus     `json:"config"`
	Sink     sink.Status      `json:"log"`
	Agents   []ingest.Session `json:"agents"`
	InFlight int64            `json:"in_flight_bytes"`
	Stalled  string           `json:"stalled,omitempty"` // why connections are not read, if that lasts
	// by what they have in the files that are kept, since the start
	Senders []sink.Sender `json:"senders"`

	Groups      []distribute.GroupStatus `json:"groups,omitempty"`
	Relay       *relay.Status            `json:"relay,omitempty"`
	Archive     *depot.Status            `json:"archive,omitempty"`
	Subscribers []zmqpub.Subscriber      `json:"zmq_subscribers,omitempty"`
}

// inputStatus is what became of the lines of an input.
type inputStatus struct {
	Input string `json:"input"`
	Class string `json:"class"` // what identifies a repeated line, see the documents
	counters.Counts
}

// print prints one line.
func (i *inputStatus) print(w io.Writer) {
	if i.Received == 0 && i.Written == 0 {
		escape.Fprintf(w, "input %s, class %s: nothing received\n", i.Input, i.Class)
		return
	}
	var rejected uint64
	for _, n := range i.Rejected {
		rejected += n
	}
	escape.Fprintf(w, "input %s, class %s: received=%d written=%d duplicate=%d rejected=%d unsure=%d dropped=%d\n",
		i.Input, i.Class, i.Received, i.Written, i.Duplicate, rejected, i.Unsure, i.Dropped)
}

func (c *server) inputStatus() (list []inputStatus) {
	for _, x := range c.inputs.All() {
		list = append(list, inputStatus{x.Name(), x.Class().String(), x.Counts()})
	}
	return list
}

// serverStatus is a server that lines come from, or go to.
type serverStatus struct {
	URL     string `json:"url"`
	Trouble string `json:"trouble,omitempty"` // what is not received or forwarded, and why
}

// servers are the servers of a kind.
func (c *server) servers(kind string) (list []serverStatus) {
	for _, x := range c.listeners.all() {
		if x.kind == kind {
			list = append(list, serverStatus{x.address, x.reason()})
		}
	}
	return list
}

// subscribers are the peers of all PUB sockets.
func (c *server) subscribers() (list []zmqpub.Subscriber) {
	for _, x := range c.listeners.all() {
		if x.subscribers != nil {
			list = append(list, x.subscribers()...)
		}
	}
	return list
}

func (c *server) status(ctx context.Context) (status, error) {
	st := status{Version: daemon.Release, Since: c.started, PID: os.Getpid(), Sink: c.sink.Status(),
		Agents:   c.sessions.List(),
		InFlight: c.room.Used(), Stalled: c.stalled(), Senders: c.sink.Senders(), NATS: c.servers("nats"),
		Redis: c.servers("redis"), ZMQ: c.servers("zmq"), Subscribers: c.subscribers(), Inputs: c.inputStatus(),
		Config: c.reloads.status()}
	for _, l := range c.listeners.serving() {
		st.Listen = append(st.Listen, l.kind+" "+l.address)
	}
	if c.relay != nil {
		r := c.relay.Status()
		st.Relay = &r
	}
	if c.archive != nil {
		a := c.archive.Status()
		st.Archive = &a
	}
	var err error
	if c.work.Load() != nil {
		st.Groups, err = c.groups(ctx)
	}
	return st, err
}

func (st *status) print(w io.Writer) {
	l := &st.Sink
	health := "taking lines"
	if !l.Healthy {
		health = "NOT TAKING LINES: " + l.Trouble
	}
	if l.Healthy && st.Stalled != "" {
		health = "INTAKE IS STALLED: " + st.Stalled
	}
	escape.Fprintf(w, "%s\n%s, generation %d, %d bytes, sync %s\n", health, l.Path, l.Generation, l.Size, l.Sync)
	escape.Fprintf(w, "%d lines in %d commits since %s\n", l.Lines, l.Commits, st.Since.Format(time.RFC3339))
	st.Config.print(w)
	for _, a := range st.Listen {
		escape.Fprintf(w, "listening %s\n", a)
	}
	printTroubles(w, "NATS", st.NATS)
	printTroubles(w, "Redis", st.Redis)
	printTroubles(w, "ZeroMQ", st.ZMQ)
	for i := range st.Inputs {
		st.Inputs[i].print(w)
	}
	printAgents(w, l.Streams, st.Agents)
	for _, x := range st.Senders {
		above := ""
		if x.AboveHalf {
			above = ", MORE THAN HALF of keep_bytes: lines of others are removed sooner"
		}
		escape.Fprintf(w, "%s has %d bytes in the files that are kept%s\n", senderName(x), x.Bytes, above)
	}
	for i := range st.Groups {
		printGroup(w, &st.Groups[i])
	}
	if st.Relay != nil {
		printRelay(w, st.Relay)
	}
	if st.Archive != nil {
		printArchive(w, st.Archive)
	}
	for _, x := range st.Subscribers {
		escape.Fprintf(w, "ZeroMQ subscriber %s since %s subscriptions=%d sent=%d dropped=%d waiting=%d\n", x.Peer,
			x.Since.Format(time.RFC3339), x.Subscriptions, x.Sent, x.Dropped, x.Waiting)
	}
}

// printAgents prints the sessions of agents, which are sorted by agent.
func printAgents(w io.Writer, streams int, list []ingest.Session) {
	agents := len(slices.CompactFunc(slices.Clone(list), func(a, b ingest.Session) bool { return a.Agent == b.Agent }))
	escape.Fprintf(w, "%d streams known, %d agents connected\n", streams, agents)
	for _, a := range list {
		name := a.Agent
		if a.Name != "" {
			name += "/" + a.Name
		}
		escape.Fprintf(w, "agent %s host=%s from %s since %s\n", name, a.Host, a.Address, a.Since.Format(time.RFC3339))
	}
}

func printTroubles(w io.Writer, kind string, servers []serverStatus) {
	for _, s := range servers {
		if s.Trouble != "" {
			escape.Fprintf(w, "%s %s IN TROUBLE: %s\n", kind, s.URL, s.Trouble)
		}
	}
}

func senderName(x sink.Sender) string {
	switch {
	case x.Agent != "":
		return fmt.Sprintf("agent %q", x.Agent)
	case x.Host != "":
		return fmt.Sprintf("address %q", x.Host)
	}
	return "all others together"
}

// line is the state in one line, for the service manager.
func (c *server) line() string {
	st := c.sink.Status()
	if !st.Healthy {
		return "NOT TAKING LINES: " + st.Trouble
	}
	if stalled := c.stalled(); stalled != "" {
		return "INTAKE IS STALLED: " + stalled
	}
	for _, x := range c.listeners.all() {
		if trouble := x.reason(); trouble != "" {
			return strings.ToUpper(x.kind) + " " + x.address + ": " + trouble
		}
	}
	if c.relay != nil && c.relay.Waits() != "" {
		return "RELAY to " + c.relay.to + ": " + c.relay.Waits()
	}
	if trouble := c.archive.reason(); trouble != "" {
		return "ARCHIVE: " + trouble
	}
	return strconv.Itoa(len(c.sessions.List())) + " agents, " + strconv.FormatUint(st.Lines, 10) +
		" lines since the start, generation " +
		strconv.FormatUint(st.Generation, 10)
}

// stallTime is how long connections may wait for memory before that is a stall.
const stallTime = 5 * time.Second

// stalled reports why connections are not read; "" while they are.
func (c *server) stalled() string {
	wait := c.room.Stalled()
	if wait < stallTime {
		return ""
	}
	return fmt.Sprintf("connections have waited %s for memory; %d bytes are in use, %d of them by incomplete "+
		"texts: if the disk keeps up, raise max_in_flight",
		wait.Round(time.Second), c.room.Used(), c.room.Arriving())
}
