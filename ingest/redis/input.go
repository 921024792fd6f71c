// Package redis is the input from a Redis server: messages of channels as they are
// published, entries of streams and elements of lists.
//
//	channels -> channelReader.run -> queue -> channelReader.append -> Out.Append
//	streams  -> streamReader.run ------------------------------> Out.Append -> XACK
//	lists    -> listReader.run --------------------------------> Out.Append -> DEL
//
// Each reader has a connection of its own, and keeps it up: see Input.keep.
package redis

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"fanin/ingest"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/redisconn"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Input accepts lines from one Redis server. Set the fields, then Serve. Zero fields take the
// defaults named.
type Input struct {
	Client  *redisconn.Client                // required
	Out     wire.Appender                    // commits the lines; required
	Budget  *ingest.Budget                   // shared by the listeners of a process; nil: its own
	Metrics *Metrics                         // shared by the inputs of a process; nil: its own
	Inputs  *counters.Set                    // counts lines; shared by all of a process; nil: its own
	Log     *slog.Logger                     // nil: discard
	Notice  func(format string, args ...any) // reports in the log itself what was lost; nil: only Log
	Lines   LineOptions

	// Remembered returns what batches had the log remember, see sink.Sink.Extensions; nil: nothing.
	Remembered func(wire.ExtensionKind) map[string][]byte

	Channels ChannelOptions
	Streams  StreamOptions
	Lists    ListOptions

	wait time.Duration // how long a request waits for what may come; default 2 s

	once     sync.Once
	life     ingest.Lifetime
	troubles ingest.Troubles
	limited  *retry.Log
}

// LineOptions are how messages, entries and elements become lines.
type LineOptions struct {
	Host    string // of the lines; default "redis"
	MaxLine int    // longer lines are split; default wire.MaxLine, at least 256 bytes
}

// ChannelOptions are which messages are received as they are published.
type ChannelOptions struct {
	Names   []string // channels, and patterns if they have one of *?[; the channel is the source of its lines
	Pending int      // bytes of messages that wait; further ones are dropped, and counted; default 64 MiB
	// Silence is how long the server may be silent before it is asked whether it is there, and
	// then until the connection is given up; default 5 s.
	Silence time.Duration
}

// StreamOptions are which streams are read.
type StreamOptions struct {
	Keys     []string // a key is the source of its lines
	Name     string   // tells streams of one key and database on two servers apart; "": there is one
	Group    string   // "": each entry is read by its id; else as a consumer of this group, with XACK
	Consumer string   // the name in the group; default "fanin"
	Message  string   // the field that is the line; "", or where an entry lacks it: all of the entry as JSON
}

// ListOptions are which lists are emptied.
type ListOptions struct {
	Keys []string // a key is the source of its lines
}

func (n *Input) setUp() {
	n.once.Do(func() {
		n.Budget, n.Inputs = cmp.Or(n.Budget, new(ingest.Budget)), cmp.Or(n.Inputs, new(counters.Set))
		if n.Metrics == nil {
			n.Metrics = NewMetrics(new(ingest.Metrics))
		}
		if n.Log == nil {
			n.Log = slog.New(slog.DiscardHandler)
		}
		if n.Notice == nil {
			n.Notice = func(string, ...any) {}
		}
		n.Lines.Host = cmp.Or(n.Lines.Host, "redis")
		n.Lines.MaxLine = min(max(cmp.Or(n.Lines.MaxLine, wire.MaxLine), lines.MinLimit), wire.MaxLine)
		n.Channels.Pending = cmp.Or(n.Channels.Pending, 64<<20)
		n.Channels.Silence = cmp.Or(n.Channels.Silence, 5*time.Second)
		n.wait = cmp.Or(n.wait, 2*time.Second)
		n.Streams.Consumer = cmp.Or(n.Streams.Consumer, "fanin")
		n.limited = retry.NewLog(n.Log)
		n.life.Begin()
		var parts []string
		for _, r := range n.readers() {
			parts = append(parts, r.part())
		}
		n.troubles.Begin(parts)
	})
}

// reader reads one kind of source over one connection.
type reader interface {
	// part names the reader in logs and in the status.
	part() string
	// key is the key that the connection is for, "": any node of a Cluster will do.
	key() string
	// run reads until ctx ends, which is when the input drains, or an error ends it. It
	// calls up when it receives.
	run(ctx context.Context, conn *redisconn.Conn, up func()) error
}

// readers are what the input consists of.
func (n *Input) readers() (all []reader) {
	if len(n.Channels.Names) > 0 {
		all = append(all, newChannelReader(n))
	}
	for _, key := range n.Streams.Keys {
		all = append(all, newStreamReader(n, key))
	}
	for _, key := range n.Lists.Keys {
		all = append(all, newListReader(n, key))
	}
	return all
}

// Serve accepts messages until Shutdown. The server may be absent: it is waited for.
func (n *Input) Serve() error {
	n.setUp()
	if !n.life.Enter() {
		return ingest.ErrServerClosed
	}
	defer n.life.Leave()
	var parts sync.WaitGroup
	for _, r := range n.readers() {
		parts.Go(func() { n.keep(r) }) // ends with Shutdown
	}
	<-n.life.Receiving.Done()
	parts.Wait()
	return ingest.ErrServerClosed
}

// Shutdown stops receiving, and waits for every outcome. When ctx ends first, it returns ctx's
// error.
func (n *Input) Shutdown(ctx context.Context) error {
	n.setUp()
	return n.life.Shutdown(ctx)
}

// Trouble returns what keeps messages from being received now; "": nothing.
func (n *Input) Trouble() string {
	n.setUp()
	return n.troubles.String()
}

// keep runs a reader over one connection after the other until the input drains.
func (n *Input) keep(r reader) {
	if c, ok := r.(*channelReader); ok {
		defer c.start()()
	}
	backoff := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second, Jitter: true}
	for !n.life.Draining() {
		conn, err := n.Client.Dial(n.life.Receiving, r.key())
		if err == nil {
			err = r.run(n.life.Receiving, conn, func() {
				backoff.Reset()
				n.setTrouble(r.part(), conn.Server(), nil)
			})
			conn.Close()
		}
		if n.life.Draining() {
			return
		}
		n.setTrouble(r.part(), "", err)
		backoff.Wait(n.life.Receiving)
	}
}

// setTrouble stores what is wrong with a part, and logs it if that is news; nil: nothing.
func (n *Input) setTrouble(part, server string, err error) {
	text := redisconn.Explain(err)
	before := n.troubles.Set(part, text)
	switch {
	case before == text, n.life.Draining():
	case err != nil:
		n.limited.Warn("redis "+part, "nothing is received from Redis; trying again", "from", part, "err", text)
	default:
		n.Log.Info("receiving from Redis", "from", part, "server", server)
	}
}
