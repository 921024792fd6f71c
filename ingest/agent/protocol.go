// Package agent is the protocol of fanin's own agents: frames over connections, each of
// which is answered with its outcome, and datagrams, which are not answered.
//
//	Protocol.serve -- conn.greet           hello, Sessions.Claim, welcome
//	                    |
//	                  conn.readFrames <- wire.Decoder
//	                    |  submit
//	                  ingest.Offer -> Out.Append     up to 32 at once
//	                    |
//	                  answers.write                  ack, nack, ...
//
// A text is read into a block of the memory budget and stays there until Append
// returned its outcome.
package agent

import (
	"cmp"
	"context"
	"net"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/internal/counters"
	"fanin/internal/wire"
)

// Protocol serves the connections of agents. Set the fields, then make its Format.
type Protocol struct {
	Out      wire.Appender                   // commits the lines; required
	Welcome  func(agent string) wire.Welcome // the welcome of an agent that connects; nil refuses agents
	Sessions *ingest.Sessions                // shared by all inputs of a process; nil: its own
	Inputs   *counters.Set                   // counts lines; shared by all inputs of a process; nil: its own

	RequireCert bool          // an agent's id and its host must be names in its certificate, see checkCert
	TrustHost   bool          // with RequireCert: an agent may name any host
	Timeout     time.Duration // closes silent agents, which ping each 5 s; default 15 s

	Relays *ingest.Relays // which peers may forward another log; nil: none

	lines   *counters.Input
	unpack  func() (*zstd.Decoder, error)
	flights sync.Pool
	rounds  rounds
}

// Format returns the row of p in a listener's table.
func (p *Protocol) Format() stream.Format {
	p.Sessions, p.Inputs = cmp.Or(p.Sessions, new(ingest.Sessions)), cmp.Or(p.Inputs, new(counters.Set))
	p.Timeout = cmp.Or(p.Timeout, 15*time.Second)
	p.lines = p.Inputs.New("agent", counters.Sequence)
	p.unpack = sync.OnceValues(ingest.NewUnpacker)
	return stream.Format{Name: "agent", Resumes: true, Matches: wire.IsHello, Serve: p.serve, Refuse: refuse,
		Reasons: []string{
			"timeout", "protocol", "version", "agent_id", "certificate", "host", "relay", "room",
		}}
}

// refuse reports to an agent why its connection is refused.
func refuse(nc net.Conn, why string) { nc.Write(wire.AppendFault(nil, why, ingest.FaultPause)) }

func (p *Protocol) serve(ctx context.Context, sc *stream.Conn) error {
	sc.Keep()
	c := newConn(ctx, p, sc)
	defer c.Budget.Leave(c.Peer, c.arrival)
	err := apart(c.greet)
	if err == nil {
		err = c.readFrames()
	}
	return c.finish(err)
}

// apart calls f on a goroutine of its own, so that the caller's stack remains small: that of thousands of
// connections is most of their memory, and a stack is not made smaller while half of it is in use.
func apart(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }() // ends with f
	return <-done
}
