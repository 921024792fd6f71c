package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"fanin/ingest/key"
	"fanin/ingest/sequence"
	"fanin/internal/counters"
	"fanin/internal/lines"
	"fanin/internal/redisconn"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// listReader empties a list, in order. Each element is in the log once, as long as the log
// remembers the batch that it was in.
//
// A script moves elements from the list to a batch, which has a number, and the list of which
// stays on the server until the log has it: see moveElements. So whatever is killed, a batch
// is read again, and its number tells the log that it has it. A server that lost its end may
// move the same elements again under the same number: the content is a part of the key, so
// other elements are never taken for those.
type listReader struct {
	n      *Input
	counts *counters.Input
	list   string // its key
	source string

	conn     *redisconn.Conn
	number   uint64 // of the last batch
	known    bool   // number is known: this is not the first session
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

// counterKey is where the server keeps the number of the last batch. It and the batches are in
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
		} else {
			err = idle.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// resume finds the number of the last batch, and commits it if it is there. The batch before
// it is not: a batch is made when the one before it is in the log, and deleted.
func (r *listReader) resume(ctx context.Context) error {
	v, err := r.conn.Do(ctx, "GET", r.counterKey())
	if err != nil {
		return err
	}
	number, ok := v.Int()
	if !ok && !v.IsNull() || number < 0 {
		return &redisconn.ServerError{Code: "WRONGTYPE", Text: r.counterKey() + " is not the number of a batch"}
	}
	r.recall()
	r.setNumber(uint64(number), 1)
	elements, err := r.conn.Do(ctx, "LRANGE", r.batchKey(r.number), "0", "-1")
	if err != nil || elements.Len() == 0 {
		return err
	}
	return r.commit(ctx, elements)
}

// recall finds the number of the latest batch in the log, in the first session.
func (r *listReader) recall() {
	if r.known || r.n.Remembered == nil {
		return
	}
	if v := r.n.Remembered(wire.ExtensionRedisList)[r.name()]; len(v) == 8 {
		r.number, r.known = binary.BigEndian.Uint64(v), true
	}
}

// name is how the log calls the list.
func (r *listReader) name() string {
	id := wire.KeyID("redis list", []byte(strconv.Itoa(r.n.Client.Login.DB())), []byte(r.n.Streams.Name),
		[]byte(r.counterKey()))
	return id.String()
}

// setNumber sets the number of the last batch to what the server says, which may be up to ahead
// more than what is known: the reply that told of it did not come.
func (r *listReader) setNumber(number, ahead uint64) {
	switch before := r.number; {
	case !r.known:
	case number < before:
		r.n.Metrics.resets.Inc()
		r.n.Log.Warn("a Redis server lost what it did last; elements of a list may come again, and be in the log "+
			"twice", "list", r.list, "batch", number, "batch_before", before)
		r.n.Notice("NOTE list=%s batch=%d before=%d: the Redis server lost what it did last: elements that it has "+
			"again are in the log twice, unless they come in the same batches", r.source, number, before)
	case number > before+ahead:
		r.n.limited.Warn("redis_list_shared", "another process empties a Redis list under the same name; "+
			"what both read is in both logs: give each collector a consumer of its own",
			"list", r.list, "consumer", r.n.Streams.Consumer)
	}
	r.number, r.known = number, true
}

// move has the server move elements to a batch, and returns them; none: the list is empty.
func (r *listReader) move(ctx context.Context) (elements redisconn.Value, err error) {
	v, err := r.conn.Do(ctx, "EVAL", moveElements, "3", r.list, r.counterKey(), r.batchKey(r.number+1),
		strconv.FormatUint(r.number, 10), strconv.Itoa(batchElements), strconv.Itoa(batchBytes))
	if err != nil {
		return v, err
	}
	if number, other := v.Int(); other {
		r.setNumber(uint64(number), 0)
		return redisconn.Value{}, nil
	}
	if v.Len() > 0 {
		r.number++
	}
	return v, nil
}

// moveElements moves elements from the list KEYS[1] to the batch KEYS[3], and returns them. It
// does nothing, and returns the number of the last batch in KEYS[2], if that is not ARGV[1].
// A batch has at most ARGV[2] elements and, unless it has one only, ARGV[3] bytes.
const moveElements = `
local last = redis.call('GET', KEYS[2]) or '0'
if last ~= ARGV[1] then return tonumber(last) end
local all, bytes, most = {}, 0, tonumber(ARGV[2])
while #all < most do
  local some = redis.call('LRANGE', KEYS[1], #all, math.min(#all + 64, most) - 1)
  if #some == 0 then break end
  for _, e in ipairs(some) do
    bytes = bytes + #e
    if #all > 0 and bytes > tonumber(ARGV[3]) then most = #all break end
    all[#all + 1] = e
  end
end
if #all == 0 then return all end
redis.call('LTRIM', KEYS[1], #all, -1)
for i = 1, #all, 1000 do
  redis.call('RPUSH', KEYS[3], unpack(all, i, math.min(i + 999, #all)))
end
redis.call('INCR', KEYS[2])
return all
`

// commit commits the elements of the last batch, and has the server delete it.
func (r *listReader) commit(ctx context.Context, elements redisconn.Value) error {
	if r.read(elements); len(r.text) > 0 {
		if err := r.append(ctx); err != nil {
			return err
		}
	}
	r.reportLosses()
	_, err := r.conn.Do(ctx, "DEL", r.batchKey(r.number))
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
		Key: []byte(strconv.Itoa(r.n.Client.Login.DB()) + " " + r.n.Streams.Name + " " + r.batchKey(r.number)),
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

// batches are the lines in batches, each of which is no larger than a batch may be. With the
// last one, which needs no cut, the log remembers the number.
func (r *listReader) batches() (all []wire.Batch) {
	b := wire.Batch{Input: r.counts.Name(), Host: r.n.Lines.Host, Source: r.source, Time: time.Now().UnixMicro()}
	begin, end := 0, 0
	for chunk := range lines.Chunks(r.text) {
		last := end+len(chunk) == len(r.text)
		if end > begin && (last || end+len(chunk)-begin > sequence.FullBatch) {
			b.Text = r.text[begin:end]
			all, begin = append(all, b), end
		}
		end += len(chunk)
	}
	b.Text = r.text[begin:end]
	b.Extensions = []wire.Extension{{Kind: wire.ExtensionRedisList, Name: r.name(),
		Value: binary.BigEndian.AppendUint64(nil, r.number)}}
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
		n, r.source, r.number)
}
