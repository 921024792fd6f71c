package redis

import (
	"context"
	"strconv"

	"fanin/internal/redisconn"
	"fanin/internal/wire"
)

// resume finds the last batch, and commits it if it is there. The batch before it is not: a
// batch is made when the one before it is in the log, and deleted.
func (r *listReader) resume(ctx context.Context) error {
	v, err := r.conn.Do(ctx, "GET", r.counterKey())
	if err != nil {
		return err
	}
	text, none := v.String(), v.IsNull()
	r.recall()
	if none && r.known { // the server forgot the id alone, perhaps
		for _, id := range []batchID{r.last, r.last.next()} {
			if err := r.takeUp(ctx, id); err != nil {
				return err
			}
		}
	}
	if err := r.setLast(text, none, 1); err != nil {
		return err
	}
	if err := r.takeUp(ctx, r.last); err != nil {
		return err
	}
	return r.adopt(ctx)
}

// takeUp commits a batch if it is there.
func (r *listReader) takeUp(ctx context.Context, id batchID) error {
	elements, err := r.conn.Do(ctx, "LRANGE", r.batchKey(id.number), "0", "-1")
	if err != nil || elements.Len() == 0 {
		return err
	}
	r.last = id
	return r.commit(ctx, elements)
}

// adopt commits the batches behind the last one, which are of a server that forgot their ids.
func (r *listReader) adopt(ctx context.Context) error {
	for {
		id := r.last.next()
		v, err := r.conn.Do(ctx, "LRANGE", r.batchKey(id.number), "0", "0")
		if err != nil || v.Len() == 0 {
			return err
		}
		if _, err := r.conn.Do(ctx, "SET", r.counterKey(), id.String()); err != nil {
			return err
		}
		r.stored = id.String()
		if err := r.takeUp(ctx, id); err != nil {
			return err
		}
		r.last = id
	}
}

// recall finds the id of the latest batch in the log, in the first session.
func (r *listReader) recall() {
	if r.known || r.n.Remembered == nil {
		return
	}
	r.last, r.known = parseBatchID(string(r.n.Remembered(wire.ExtensionRedisList)[r.name()]))
}

// name is how the log calls the list.
func (r *listReader) name() string {
	id := wire.KeyID("redis list", []byte(strconv.Itoa(r.n.Client.Login.DB())), []byte(r.n.Streams.Name),
		[]byte(r.counterKey()))
	return id.String()
}

// setLast sets the last batch to the one whose id the server has, which may be up to ahead
// behind what is known: the reply that told of it did not come.
func (r *listReader) setLast(text string, none bool, ahead uint64) error {
	id, ok := parseBatchID(text)
	switch {
	case none && r.known && r.last.number == 0: // it still has none
		id = r.last
	case none:
		id = newBatchID()
	case !ok:
		return &redisconn.ServerError{Code: "WRONGTYPE", Text: r.counterKey() + " is not the id of a batch"}
	}
	switch before := r.last; {
	case !r.known:
	case id.nonce != before.nonce || id.number < before.number:
		r.behind = id.nonce == before.nonce
		r.n.Metrics.resets.Inc()
		r.n.Log.Warn("a Redis server lost what it did last; elements of a list may come again, and be in the log "+
			"twice", "list", r.list, "batch", id.number, "batch_before", before.number)
		r.n.Notice("NOTE list=%s batch=%d before=%d: the Redis server lost what it did last: elements that it has "+
			"again are in the log twice, unless they come in the same batches; until the list is empty, a batch "+
			"like one that the log has under its number is taken for it", r.source, id.number, before.number)
	case id.number > before.number+ahead:
		r.n.limited.Warn("redis_list_shared", "another process empties a Redis list under the same name; "+
			"what both read is in both logs: give each collector a consumer of its own",
			"list", r.list, "consumer", r.n.Streams.Consumer)
	}
	r.last, r.known, r.stored = id, true, text
	return nil
}

// renew takes a new nonce when the list is empty after the server lost its end: what comes now
// is new, even where it is like a batch that the log has.
func (r *listReader) renew(ctx context.Context) error {
	if !r.behind {
		return nil
	}
	id := batchID{newBatchID().nonce, r.last.number}
	if _, err := r.conn.Do(ctx, "SET", r.counterKey(), id.String()); err != nil {
		return err
	}
	r.last, r.stored, r.behind = id, id.String(), false
	return nil
}

// move has the server move elements to a batch, and returns them; none: the list is empty.
func (r *listReader) move(ctx context.Context) (elements redisconn.Value, err error) {
	id := r.last.next()
	v, err := r.conn.Do(ctx, "EVAL", moveElements, "3", r.list, r.counterKey(), r.batchKey(id.number),
		r.stored, id.String(), strconv.Itoa(batchElements), strconv.Itoa(batchBytes))
	if err != nil {
		return v, err
	}
	if !v.IsList() {
		text := v.String()
		return redisconn.Value{}, r.setLast(text, text == "", 0)
	}
	if v.Len() > 0 {
		r.last, r.stored = id, id.String()
	}
	return v, nil
}

// moveElements moves elements from the list KEYS[1] to the batch KEYS[3], and returns them. It
// does nothing, and returns the id of the last batch in KEYS[2], or an empty string, if that is
// not ARGV[1]. The id is then ARGV[2]. A batch has at most ARGV[3] elements and, unless it has
// one only, ARGV[4] bytes.
//
// A script that fails is not rolled back. So what can be refused comes first, with the commands
// that undo it before it, where they change nothing; the elements leave the list in the end.
const moveElements = `
local last = redis.call('GET', KEYS[2]) or ''
if last ~= ARGV[1] then return last end
local all, bytes, most, limit = {}, 0, tonumber(ARGV[3]), tonumber(ARGV[4])
local chunk = 1
while #all < most do
  local some = redis.call('LRANGE', KEYS[1], #all, math.min(#all + chunk, most) - 1)
  if #some == 0 then break end
  for _, e in ipairs(some) do
    bytes = bytes + #e
    if #all > 0 and bytes > limit then most = #all break end
    all[#all + 1] = e
  end
  chunk = math.max(1, math.min(64, #all, math.floor((limit - bytes) * #all / math.max(bytes, 1))))
end
if #all == 0 then return all end
if #redis.call('LRANGE', KEYS[3], 0, 0) > 0 then
  return redis.error_reply('ERR the batch ' .. KEYS[3] .. ' is there already')
end
redis.call('DEL', KEYS[3])
redis.call('LTRIM', KEYS[1], 0, -1)
local function refused(reply)
  if type(reply) ~= 'table' or not reply.err then return false end
  redis.call('DEL', KEYS[3])
  return true
end
for i = 1, #all, 1000 do
  local reply = redis.pcall('RPUSH', KEYS[3], unpack(all, i, math.min(i + 999, #all)))
  if refused(reply) then return reply end
end
local reply = redis.pcall('SET', KEYS[2], ARGV[2])
if refused(reply) then return reply end
redis.call('LTRIM', KEYS[1], #all, -1)
return all
`
