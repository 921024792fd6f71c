package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/access"
	"fanin/internal/zmtp"
)

// The bounds of requests over ZeroMQ, and of their answers.
const (
	maxRequest  = 1 << 10  // bytes of a request
	maxEnvelope = 32 << 10 // bytes of a request with its envelope; a peer that sends more is disconnected
	shortAnswer = 32 << 10 // bytes of an answer that any number of peers may be reading
	longAnswers = 16       // longer ones at a time
	computing   = 4        // answers that are computed at a time
)

// zmqRep answers requests over ZeroMQ, from a REP socket. A message of a peer, and its
// answer, have these frames (RFC 28):
//
//	envelope   any frames that are not empty, and an empty one: returned as they are.
//	           A REQ sends just the empty one. A DEALER may leave all of them out.
//	request    NAME, or NAME?QUERY as in the path of HTTP
//
//	envelope
//	answer     JSON: what HTTP answers, or {"error": "..."}
//
// Each peer is answered in the order of its requests, by a goroutine of its own.
type zmqRep struct {
	requests []request
	control  bool          // also what changes something
	now      chan struct{} // holds one element for each answer that is being computed
	long     chan struct{} // and for each long one that is being read
	answers  map[string]prometheus.Counter
}

// The outcomes of requests over ZeroMQ, for the metric.
const (
	repAnswered  = "answered"
	repError     = "error"
	repForbidden = "forbidden"
	repUnknown   = "unknown"
)

func newZMQRep(s *server, control bool) *zmqRep {
	return &zmqRep{requests: s.messageRequests(), control: control, now: make(chan struct{}, computing),
		long: make(chan struct{}, longAnswers),
		answers: s.counters.Counters("fanin_zmq_requests_total", "Requests over ZeroMQ, by their outcome.", "outcome",
			repAnswered, repError, repForbidden, repUnknown)}
}

// Handle answers one peer until its connection ends. It is a zmtp.Handler.
func (x *zmqRep) Handle(ctx context.Context, l *zmtp.Link) error {
	ctx = access.With(ctx, access.Caller{Kind: "ZeroMQ", Peer: access.Peer{Address: l.Addr}})
	for {
		frames, err := l.Receive()
		if err != nil {
			return err
		}
		body := slices.IndexFunc(frames, func(f []byte) bool { return len(f) == 0 }) + 1
		if err := x.send(l, frames[:body], x.answer(ctx, frames[body:])); err != nil {
			return err
		}
	}
}

// send sends an answer. While too many peers are reading long ones, it says so instead.
func (x *zmqRep) send(l *zmtp.Link, envelope [][]byte, answer []byte) error {
	if len(answer) > shortAnswer {
		select {
		case x.long <- struct{}{}:
			defer func() { <-x.long }()
		default:
			answer = x.failed(repError, "too many peers are reading long answers; try again")
		}
	}
	if err := l.Send(append(slices.Clip(envelope), answer)...); err != nil {
		return err
	}
	return l.Flush()
}

// answer is the answer to the frames of a request.
func (x *zmqRep) answer(ctx context.Context, frames [][]byte) []byte {
	switch {
	case len(frames) != 1:
		return x.failed(repError, "a request is one frame, and this one has %d; %s", len(frames), x.known())
	case len(frames[0]) > maxRequest:
		return x.failed(repError, "a request has at most %d bytes, and this one has %d", maxRequest, len(frames[0]))
	}
	name, query, _ := strings.Cut(strings.TrimSpace(string(frames[0])), "?")
	q, err := url.ParseQuery(query)
	i := slices.IndexFunc(x.requests, func(r request) bool { return r.name == name })
	switch {
	case i < 0:
		return x.failed(repUnknown, "unknown request %.100q; %s", name, x.known())
	case err != nil:
		return x.failed(repError, "%s: %v", name, err)
	case x.requests[i].changes && !x.control:
		return x.failed(repForbidden, "forbidden: this collector is read-only over ZeroMQ; use its control socket, or "+
			"set control = true in [collector.zmq.status]")
	}
	select {
	case x.now <- struct{}{}:
		defer func() { <-x.now }()
	case <-ctx.Done():
		return x.failed(repError, "the collector is shutting down")
	}
	v, err := x.requests[i].answer(ctx, q)
	if err != nil {
		return x.failed(repError, "%v", err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return x.failed(repError, "%v", err)
	}
	x.answers[repAnswered].Inc()
	return data
}

// known names all requests.
func (x *zmqRep) known() string {
	var names []string
	for _, r := range x.requests {
		names = append(names, r.name)
	}
	return "the requests are " + strings.Join(names, ", ")
}

// failed is an answer that says what is wrong.
func (x *zmqRep) failed(outcome, format string, args ...any) []byte {
	x.answers[outcome].Inc()
	data, _ := json.Marshal(map[string]string{"error": fmt.Sprintf(format, args...)}) // a string cannot fail
	return data
}
