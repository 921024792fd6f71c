package collector

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"fanin/internal/daemon"
	"fanin/sink"
)

// answer computes the answer to a request: a value, which is sent as JSON.
type answer func(ctx context.Context, q url.Values) (any, error)

// request is something that the collector can be asked. It is defined once, here, and
// asked in these ways:
//
//	control socket, HTTP   GET /NAME, or POST /NAME if it changes something
//	NATS                   the endpoint NAME of the micro service, if messages may ask it
//	ZeroMQ                 the text NAME, or NAME?QUERY, if messages may ask it
//
// Over HTTP and ZeroMQ, what changes something needs control = true, and over HTTP a caller
// with the role admin; everything else needs the role read there. Over NATS, the permissions
// of the server decide. What was changed, and by whom, becomes a notice in the log.
type request struct {
	name     string
	changes  bool
	silent   bool   // it changes nothing that anyone would ask about, or writes its notice itself
	messages bool   // messages may ask it: its answer is short
	local    bool   // only the control socket answers it
	waits    string // what its answer waits for
	answer   answer

	// long answers over HTTP where the answer may have any length; nil: as answer does.
	long http.HandlerFunc
}

// pattern is the HTTP method and path of a request.
func (r *request) pattern() string {
	if r.changes {
		return "POST /" + r.name
	}
	return "GET /" + r.name
}

// requests are all that can be asked.
func (c *server) requests() []request {
	const nothing, writer, groups = "nothing in particular", "the writer of the log", "the groups of workers"
	list := []request{
		{name: "ping", messages: true, waits: nothing, answer: get(c.ping)},
		{name: "status", messages: true, waits: groups, answer: get(c.status)},
		{name: "streams", messages: true, waits: nothing, answer: c.fewStreams, long: c.listStreams},
		{name: "groups", messages: true, waits: groups, answer: get(c.groups)},
		{name: "rotate", messages: true, changes: true, silent: true, waits: writer, answer: get(c.rotate)},
		{name: "whoami", waits: nothing, answer: c.whoami},
		{name: "workers", waits: groups, answer: get(c.workers)},
		{name: "refused", waits: nothing, answer: get(c.refusedMessages)},
		{name: "upstream", waits: "the collector that the log is forwarded to", answer: get(c.verifyUpstream)},
		{name: "histogram", waits: nothing, answer: history(c.tail.Histogram)},
		{name: "context", waits: nothing, answer: history(c.tail.Context)},
		{name: "streams/forget", changes: true, waits: writer, answer: c.forgetStreams},
		{name: "streams/give", changes: true, waits: writer, answer: c.giveStreams},
		{name: "reopen", changes: true, waits: writer, answer: do(c.sink.Reopen)},
		{name: "checkpoint", changes: true, silent: true, waits: writer, answer: do(c.sink.Checkpoint)},
		{name: "reload", changes: true, waits: nothing,
			answer: get(c.reload)},
		{name: "drain", changes: true, silent: true, waits: nothing, answer: do(c.askToDrain)},
		{name: "replay", changes: true, waits: groups, answer: c.replay},
		{name: "forget", changes: true, waits: groups, answer: c.forget},
		{name: "refused/replay", changes: true, waits: "the NATS server", answer: get(c.replayRefused)},
	}
	list = append(list, c.pkiRequests()...)
	for i := range list {
		r := &list[i]
		r.answer = within(answerTime, r.name, func() string { return c.waits(r.waits) }, r.answer)
		if r.changes && !r.silent {
			r.answer = c.audited(r.name, r.answer)
		}
	}
	return list
}

// messageRequests are the requests that messages may ask.
func (c *server) messageRequests() []request {
	return slices.DeleteFunc(c.requests(), func(r request) bool { return !r.messages })
}

// answerTime bounds every answer but the live tail's.
const answerTime = 20 * time.Second

// within limits the time of an answer. When it is up, the error says what the answer
// waited for: what was asked may still happen.
func within(limit time.Duration, name string, waits func() string, f answer) answer {
	return func(ctx context.Context, q url.Values) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		v, err := f(ctx, q)
		if err != nil && ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("/%s was not done within %v; it waits for %s; it may still be done (%w)", name, limit,
				waits(), err)
		}
		return v, err
	}
}

// waits names what an answer waits for, and why the log accepts no lines if it accepts
// none: most often that is the reason.
func (c *server) waits(what string) string {
	if st := c.sink.Status(); !st.Healthy {
		return what + "; the log accepts no lines now: " + st.Trouble
	}
	return what
}

// get is an answer without parameters.
func get[T any](f func(ctx context.Context) (T, error)) answer {
	return func(ctx context.Context, _ url.Values) (any, error) { return f(ctx) }
}

// do is an answer without parameters that is {}.
func do(f func(ctx context.Context) error) answer {
	return func(ctx context.Context, _ url.Values) (any, error) { return struct{}{}, f(ctx) }
}

// history is an answer about the lines that the log has.
func history[T any](f func(ctx context.Context, q url.Values) (T, error)) answer {
	return func(ctx context.Context, q url.Values) (any, error) { return f(ctx, q) }
}

// pong is the answer to ping.
type pong struct {
	Version string `json:"version"`
	Log     string `json:"log"` // its id
}

// ping answers that the collector answers, and which it is.
func (c *server) ping(context.Context) (pong, error) {
	return pong{daemon.Release, c.sink.Status().Log}, nil
}

// askToDrain ends the collector.
func (c *server) askToDrain(ctx context.Context) error {
	c.audit(ctx, "drain", nil, nil) // before the log closes
	c.leaving.Do(func() { close(c.leave) })
	return nil
}

// maxListed is how many streams one message lists.
const maxListed = 1000

// fewStreams lists streams in one message. If they are too many, that is an error: a part
// of the list would look like all of it.
func (c *server) fewStreams(_ context.Context, q url.Values) (any, error) {
	f, err := streamFilter(q)
	if err != nil {
		return nil, err
	}
	list := []sink.StreamStatus{}
	for st := range c.sink.Streams(f) {
		if len(list) == maxListed {
			return nil, fmt.Errorf("%w: more than %d, too many for one message; select them by agent, id or older, "+
				"or list them with fanin-collector streams", errFilter, maxListed)
		}
		list = append(list, st)
	}
	return list, nil
}
