package livetail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
//	Prefix.-.skipped     lines that were not shown: {"from", "to", "lines", "exact"}, see Skipped
type Publisher struct {
	Sink   *sink.Sink
	Conn   *nats.Conn // not one that others need: it may block
	Prefix string
	Token  func(name []byte) string // makes one token of a subject of a name
	Log    *slog.Logger
	MaxLag int64 // bytes to be behind before lines are skipped; default 64 MiB

	lines, skipped atomic.Uint64
}

// Run shows lines from the end of the log on, until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	if p.MaxLag == 0 {
		p.MaxLag = 64 << 20
	}
	reader := p.Sink.Reader(p.Sink.End())
	defer func() { reader.Close() }()
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		if !p.Conn.IsConnected() {
			p.pause(ctx, 100*time.Millisecond)
			continue
		}
		grown := p.Sink.Grown() // before the look
		if from, to := reader.At(), p.Sink.End(); p.Sink.Distance(from, to) > p.MaxLag {
			n, exact, err := p.Sink.Count(ctx, from, to)
			if err != nil {
				return fmt.Errorf("count what is skipped: %w", err)
			}
			reader.Close()
			reader = p.Sink.Reader(to)
			p.skip(Skipped{From: from.String(), To: to.String(), Lines: n, Exact: exact})
		}
		text, _, err := reader.Read(ctx, buf)
		var gone *sink.GoneError
		switch {
		case errors.As(err, &gone):
			p.skip(Skipped{From: gone.From.String(), To: gone.To.String()})
		case err != nil:
			p.Log.Warn("cannot show the log over NATS; trying again", "err", err)
			p.pause(ctx, time.Second)
		case text == nil:
			p.Conn.FlushWithContext(ctx)
			select {
			case <-grown:
				p.pause(ctx, 2*time.Millisecond)
			case <-ctx.Done():
			}
		default:
			p.show(text)
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

func (p *Publisher) show(text []byte) {
	shown := uint64(0)
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		f := p.Sink.Parts(line)
		if p.Conn.Publish(p.Prefix+"."+p.Token(f.Host)+"."+p.Token(f.Source), line) == nil {
			shown++
		} else {
			p.skipped.Add(1)
		}
	}
	p.lines.Add(shown)
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
