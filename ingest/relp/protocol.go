// Package relp is the server of RELP, the protocol in which rsyslog has each message acknowledged.
//
//	Protocol.serve -- conn.run <- stream.Intake    frames, parsed where they were read
//	                    |  take
//	                  batch                        lines, answers, hashes
//	                    |  open                    at the beginning of a session:
//	                    |                          Sessions.decide, which are repeats
//	                  conn.commit -> Out.Append    one batch is appended while the
//	                    |                          next one is read
//	                  answers, in order
//
// A message is answered after its commit, and only with 200: a client drops what is answered with 500.
// What cannot be committed is not answered, and the session ends; the client sends it again. See
// Sessions for how that is recognized.
package relp

import (
	"cmp"
	"context"
	"crypto/tls"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Protocol serves the sessions of RELP clients. Set the fields, then make its Format. Zero fields
// have the defaults named.
type Protocol struct {
	Out      wire.Appender    // commits the lines; required
	Sessions *Sessions        // shared by all listeners of a process; nil: its own
	Inputs   *counters.Set    // counts lines; shared by all inputs of a process; nil: its own
	Metrics  *ingest.Metrics  // nil: its own
	Messages *syslog.Settings // how messages are understood; nil: the default

	Window     int // frames of a session that are remembered; default 4096, at most MaxWindow
	MaxMessage int // a session with a longer one ends; default 128 KiB, at most MaxMessage
	MaxLine    int // longer lines are split; default wire.MaxLine, at least 256 bytes

	lines  *counters.Input
	counts metrics
}

// Limits of the settings.
const (
	DefaultWindow  = 4096
	DefaultMessage = 128 << 10
	MaxWindow      = 1 << 16
	MaxMessage     = 256 << 10
)

// Segment is the TCP segment that clients are told to send (stream.Listener.MaxSegment).
//
// A client that sends with TCP_CORK, as librelp does in each transaction of rsyslog, holds what does
// not fill a segment back, for up to 200 ms. When its window is full it waits meanwhile, for answers to
// messages that have not left it. With the segments of a loopback interface, 64 KiB, these are all
// messages of a small window.
const Segment = 1024

// Format returns the row of p in a listener's table. It matches every connection.
func (p *Protocol) Format() stream.Format {
	p.Sessions, p.Inputs = cmp.Or(p.Sessions, new(Sessions)), cmp.Or(p.Inputs, new(counters.Set))
	p.Metrics, p.Messages = cmp.Or(p.Metrics, new(ingest.Metrics)), cmp.Or(p.Messages, &syslog.Settings{Source: "relp"})
	p.Window = min(max(cmp.Or(p.Window, DefaultWindow), 1), MaxWindow)
	p.MaxMessage = min(cmp.Or(p.MaxMessage, DefaultMessage), MaxMessage)
	p.MaxLine = min(max(cmp.Or(p.MaxLine, wire.MaxLine), lines.MinLimit), wire.MaxLine)
	p.lines = p.Inputs.New("relp", counters.Run)
	p.counts = newMetrics(p.Metrics)
	return stream.Format{Name: "relp", Resumes: true, Serve: p.serve, Reasons: reasons()}
}

// serve serves a session until the peer ends it, or the listener drains.
func (p *Protocol) serve(ctx context.Context, sc *stream.Conn) error {
	return newConn(ctx, p, sc).serve()
}

// peerOf is what a peer's sessions are known by: the name in its certificate, else its address.
func peerOf(c *stream.Conn) string {
	if state, ok := c.TLS(); ok {
		if name := certName(state); name != "" {
			return name
		}
	}
	return c.Peer.String()
}

func certName(state tls.ConnectionState) string {
	if len(state.VerifiedChains) == 0 {
		return ""
	}
	leaf := state.VerifiedChains[0][0]
	for _, name := range append([]string{leaf.Subject.CommonName}, leaf.DNSNames...) {
		if name != "" && len(name) < maxPeer {
			return "cn " + name[:min(len(name), maxPeer-3)]
		}
	}
	return ""
}
