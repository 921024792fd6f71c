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

	"fanin/sink"
)

// Publisher shows the log over NATS: each line, as it stands in the file, on a
// subject of its host and source, so that the subject is the filter. Who listens
// sees what comes from then on; nobody is waited for. Set the fields, then Run.
//
//	Prefix.HOST.SOURCE   a line
//	Prefix.-.skipped     lines that were not shown: {"from", "to", "lines", "exact"}, see Skipped;
//	                     not exact after a lost connection: some of them may have been
type Publisher struct {
	Sink   *sink.Sink
	Conn   *nats.Conn // not one that others need: it may block
	Prefix string
	Token  func(name []byte) string // makes one token of a subject of a name
	Log    *slog.Logger
	MaxLag int64 // bytes to be behind before lines are skipped; default 64 MiB

	reader     *sink.Reader
	confirmed  sink.Position // the server has all before it
	connection uint64        // the how manieth it is

	lines, skipped atomic.Uint64
}

// unconfirmed bounds what is published before the server is asked whether it has
// all of it.
const unconfirmed = 4 << 20

// Run shows lines from the end of the log on, until ctx ends.
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
			p.pause(ctx, 100*time.Millisecond)
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
			p.Log.Warn("cannot show the log over NATS; trying again", "err", err)
			p.pause(ctx, time.Second)
		case text == nil:
			if !p.confirm(ctx) {
				p.pause(ctx, 100*time.Millisecond)
				continue
			}
			select {
			case <-grown:
				p.pause(ctx, 2*time.Millisecond)
			case <-ctx.Done():
			}
		default:
			p.show(text)
			if p.Sink.Distance(p.confirmed, p.reader.At()) > unconfirmed {
				p.confirm(ctx)
			}
		}
	}
	return ctx.Err()
}

func (p *Publisher) pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// confirm waits until the server has all that was published, and reports whether it
// does.
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

// catchUp passes over lines when there are too many, and says which: those, and
// what was on its way when a connection was lost. Who listens is not shown a line twice.
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
		p.Log.Warn("cannot count what is not shown over NATS", "err", err)
	}
	p.reader.Close()
	p.reader, p.confirmed = p.Sink.Reader(to), to
	p.skip(Skipped{From: from.String(), To: to.String(), Lines: n, Exact: exact && err == nil && !unsure})
}

func (p *Publisher) show(text []byte) {
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

func (p *Publisher) skip(s Skipped) {
	p.skipped.Add(s.Lines)
	if data, err := json.Marshal(s); err == nil {
		p.Conn.Publish(p.Prefix+".-.skipped", data)
	}
}

// Describe sends nothing: what is collected describes itself.
func (p *Publisher) Describe(chan<- *prometheus.Desc) {}

// Collect sends the publisher's metrics.
func (p *Publisher) Collect(out chan<- prometheus.Metric) {
	send := func(name, help string, v uint64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, []string{"prefix"}, nil), prometheus.CounterValue, float64(v), p.Prefix)
	}
	send("fanin_published_lines_total", "Lines shown over NATS.", p.lines.Load())
	send("fanin_published_skipped_lines_total", "Lines not shown over NATS: the server was too slow, or away.", p.skipped.Load())
}
