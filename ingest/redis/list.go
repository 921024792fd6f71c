package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"fanin/ingest/key"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/redisconn"
	"fanin/internal/retry"
	"fanin/internal/sequence"
	"fanin/internal/wire"
)

// listReader empties a list, in order. Each element is in the log once, as long as the log
// remembers the batch that it was in.
//
// A script moves elements from the list to a batch, which has an id, and the list of which
// stays on the server until the log has it: see moveElements. So whatever is killed, a batch
// is read again, and its id tells the log that it has it. A server that lost its end may
// move the same elements again under the same id: the content is a part of the key, so
// other elements are never taken for those.
type listReader struct {
	n      *Input
	counts *counters.Input
	list   string // its key
	source string

	conn     *redisconn.Conn
	last     batchID // the last batch
	stored   string  // what the server has in counterKey
	known    bool    // last is known: this is not the first session
	behind   bool    // the server lost its end, and has elements since
	requests key.Requests
	text     []byte
	losses   entryLosses
}

// Bounds of a batch.
const (
	batchElements = 4000
	batchBytes    = 1 << 20
)

func newListReader(n *Input, key string) *listReader {
	r := &listReader{n: n, counts: n.Inputs.New("redis-list", counters.Key), list: key, source: sourceOf(key)}
	r.requests.Log = n.Out
	return r
}

func (r *listReader) part() string { return "list " + r.list }

func (r *listReader) key() string { return r.list }

// counterKey is where the server keeps the id of the last batch. It and the batches are in
// the hash slot of the list. Readers with other names have other batches.
func (r *listReader) counterKey() string {
	name := r.list
	if redisconn.Tag(name) == name && !strings.Contains(name, "}") {
		name = "{" + name + "}"
	}
	return name + ":" + r.n.Streams.Consumer
}

// batchKey is where the server keeps a batch that is not in the log yet.
func (r *listReader) batchKey(number uint64) string {
	return r.counterKey() + ":" + strconv.FormatUint(number, 10)
}

// run empties the list until something goes wrong.
func (r *listReader) run(ctx context.Context, conn *redisconn.Conn, up func()) error {
	r.conn = conn
	if err := r.resume(ctx); err != nil {
		return err
	}
	idle := retry.Backoff{Min: r.n.wait / 400, Max: r.n.wait / 20}
	for begun := false; ; begun = true {
		elements, err := r.move(ctx)
		if err != nil {
			return err
		}
		if !begun {
			up()
		}
		if elements.Len() > 0 {
			idle.Reset()
			err = r.commit(ctx, elements)
		} else if err = r.renew(ctx); err == nil {
			err = idle.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// commit commits the elements of the last batch, and has the server delete it.
func (r *listReader) commit(ctx context.Context, elements redisconn.Value) error {
	if r.read(elements); len(r.text) > 0 {
		if err := r.append(ctx); err != nil {
			return err
		}
	}
	r.reportLosses()
	_, err := r.conn.Do(ctx, "DEL", r.batchKey(r.last.number))
	return err
}

// read makes lines of elements.
func (r *listReader) read(elements redisconn.Value) {
	r.text, r.losses = r.text[:0], entryLosses{}
	if cap(r.text) > 4*sequence.FullBatch {
		r.text = nil
	}
	r.n.Metrics.messages["list"].Add(float64(elements.Len()))
	for _, e := range elements.All() {
		if _, skipped := e.Skipped(); skipped {
			r.n.Metrics.skipped.Inc()
			r.losses.tooLarge++
			continue
		}
		before := len(r.text)
		if r.text = r.n.lines(r.counts, r.text, e.Bytes()); len(r.text) == before {
			r.n.Metrics.empty.Inc()
		}
	}
}

// append commits the lines of the last batch.
func (r *listReader) append(ctx context.Context) error {
	request := key.Request{
		Kind: "redis list", PerContent: true, Batches: r.batches(),
		Key: []byte(r.name() + " " + r.last.String()),
	}
	var outcome key.Outcome
	known, err := r.n.untilDecided(r.part(), func() (err error) {
		outcome, err = r.requests.Append(r.n.life.Appending, request)
		return err
	})
	if known {
		r.counts.Received(lines.Count(r.text), len(r.text))
	}
	if outcome.Repeat {
		r.n.Metrics.repeats.Inc()
	}
	return errors.Join(err, ctx.Err())
}

// batches are the lines in batches. With the last one, the log remembers the id.
func (r *listReader) batches() (all []wire.Batch) {
	all = batchesOf(wire.Batch{Input: r.counts.Name(), Host: r.n.Lines.Host, Source: r.source,
		Time: time.Now().UnixMicro()}, r.text)
	all[len(all)-1].Extensions = []wire.Extension{{Kind: wire.ExtensionRedisList, Name: r.name(),
		Value: []byte(r.last.String())}}
	return all
}

// batchesOf divides a text into batches that have the rest in common. The last one needs no cut.
func batchesOf(b wire.Batch, text []byte) (all []wire.Batch) {
	begin, end := 0, 0
	for chunk := range lines.Chunks(text) {
		last := end+len(chunk) == len(text)
		if end > begin && (last || end+len(chunk)-begin > sequence.FullBatch) {
			b.Text = text[begin:end]
			all, begin = append(all, b), end
		}
		end += len(chunk)
	}
	b.Text = text[begin:end]
	return append(all, b)
}

// reportLosses counts and reports what of a batch is not in the log.
func (r *listReader) reportLosses() {
	n := r.losses.tooLarge
	if n == 0 {
		return
	}
	r.n.Metrics.tooLarge.Add(float64(n))
	r.n.limited.Error("redis_list_too_large", "elements of a Redis list are longer than max_message and not in the log",
		"list", r.list, "elements", n, "remedy", "raise max_message")
	r.n.Notice("LOST n=%d unit=elements reason=redis-too-large list=%s batch=%d: they are longer than max_message",
		n, r.source, r.last.number)
}
