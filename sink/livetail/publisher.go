package livetail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/retry"
	"fanin/sink"
)

// Publisher publishes the log over NATS: each line, as in the file, on a subject of its
// host and source, so that the subject is the filter. Subscribers receive the lines that
// come after they subscribed; none is waited for. Set the fields, then Run.
//
//	Prefix.HOST.SOURCE   a line
//	Prefix.-.skipped     lines that were not published: {"from", "to", "lines", "exact"}, see
//	                     Skipped; not exact after a lost connection: some may have been
type Publisher struct {
	Sink   *sink.Sink
	Conn   *nats.Conn // shared with nothing else: publishing may block
	Prefix string
	Token  func(name []byte) string // converts a name to one token of a subject
	Log    *slog.Logger             // required
	MaxLag int64                    // bytes to be behind before lines are skipped; default 64 MiB

	reader     *sink.Reader
	confirmed  sink.Position // the server has all before it
	connection uint64        // reconnect count at the last confirm

	lines, skipped atomic.Uint64
}

// maxUnconfirmed bounds the bytes that are published before a round trip confirms that the
// server has them.
const maxUnconfirmed = 4 << 20

// Run publishes lines, beginning at the end of the log, until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	if p.MaxLag == 0 {
		p.MaxLag = 64 << 20
	}
	p.confirmed, p.connection = p.Sink.End(), p.Conn.Stats().Reconnects
	p.reader = p.Sink.Reader(p.confirmed)
	defer func() { p.reader.Close() }()
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		if !p.Conn.IsConnected() {
			retry.Pause(ctx, 100*time.Millisecond)
			continue
		}
		grown := p.Sink.Grown() // before the look
		p.catchUp(ctx)
		text, _, err := p.reader.Read(ctx, buf)
		var gone *sink.GoneError
		switch {
		case errors.As(err, &gone):
			p.skip(Skipped{From: gone.From.String(), To: gone.To.String()})
		case err != nil:
			p.Log.Warn("cannot read the log to publish it over NATS; trying again", "err", err)
			retry.Pause(ctx, time.Second)
		case text == nil:
			if !p.confirm(ctx) {
				retry.Pause(ctx, 100*time.Millisecond)
				continue
			}
			select {
			case <-grown:
				retry.Pause(ctx, 2*time.Millisecond)
			case <-ctx.Done():
			}
		default:
			p.publish(text)
			if p.Sink.Distance(p.confirmed, p.reader.At()) > maxUnconfirmed {
				p.confirm(ctx)
			}
		}
	}
	return ctx.Err()
}

// confirm waits until the server has everything that was published, and reports whether
// it has.
func (p *Publisher) confirm(ctx context.Context) bool {
	at := p.reader.At()
	if at == p.confirmed {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if p.Conn.FlushWithContext(ctx) != nil || p.Conn.Stats().Reconnects != p.connection {
		return false
	}
	p.confirmed = at
	return true
}

// catchUp skips lines when there are too many, and reports which: these, and those that
// were unconfirmed when a connection was lost. No line is published twice.
func (p *Publisher) catchUp(ctx context.Context) {
	connection := p.Conn.Stats().Reconnects
	at := p.reader.At()
	unsure := connection != p.connection && p.confirmed != at
	to := at
	if end := p.Sink.End(); p.Sink.Distance(at, end) > p.MaxLag {
		to = end
	}
	from := at
	if unsure {
		from = p.confirmed
	}
	if connection != p.connection {
		p.connection, p.confirmed = connection, at
	}
	if from == to {
		return
	}
	n, exact, err := p.Sink.Count(ctx, from, to)
	if err != nil {
		p.Log.Warn("cannot count the lines that are not published over NATS", "err", err)
	}
	p.reader.Close()
	p.reader, p.confirmed = p.Sink.Reader(to), to
	p.skip(Skipped{From: from.String(), To: to.String(), Lines: n, Exact: exact && err == nil && !unsure})
}

// publish publishes whole lines.
func (p *Publisher) publish(text []byte) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		f := p.Sink.Parts(line)
		switch err := p.Conn.Publish(p.Prefix+"."+p.Token(f.Host)+"."+p.Token(f.Source), line); {
		case err == nil:
			p.lines.Add(1)
		case errors.Is(err, nats.ErrMaxPayload):
			p.skipped.Add(1)
		default:
			return // the connection is lost: see catchUp
		}
	}
}

// skip reports lines that are not published.
func (p *Publisher) skip(s Skipped) {
	p.skipped.Add(s.Lines)
	if data, err := json.Marshal(s); err == nil {
		p.Conn.Publish(p.Prefix+".-.skipped", data)
	}
}

// Describe sends nothing: the metrics describe themselves when they are collected.
func (p *Publisher) Describe(chan<- *prometheus.Desc) {}

// Collect sends the publisher's metrics.
func (p *Publisher) Collect(out chan<- prometheus.Metric) {
	send := func(name, help string, v uint64) {
		desc := prometheus.NewDesc(name, help, []string{"prefix"}, nil)
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), p.Prefix)
	}
	send("fanin_published_lines_total", "Lines published over NATS.", p.lines.Load())
	send("fanin_published_skipped_lines_total",
		"Lines not published over NATS: the server was too slow, or away.", p.skipped.Load())
}
