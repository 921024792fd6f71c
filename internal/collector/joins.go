package collector

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	"fanin/ingest/stream"
	"fanin/internal/join"
	"fanin/internal/origin"
	"fanin/internal/pki"
)

// joins serves the connections of hosts that get a certificate. One may come without a
// certificate of its own; it sends one request, gets one answer, and is closed.
type joins struct {
	s       *server
	limits  joinLimits
	counted func(outcome string)
}

// Outcomes of requests that the authority does not see.
const (
	joinLimited   = "limited"
	joinMalformed = "malformed"
)

// newJoins makes what serves a listener.
func newJoins(s *server) *joins {
	values := []string{joinLimited, joinMalformed}
	for _, o := range pki.Outcomes() {
		values = append(values, string(o))
	}
	counters := s.counters.Counters("fanin_certificate_requests_total",
		"Requests for certificates of the collector's authority, by outcome.", "outcome", values...)
	return &joins{s: s, counted: func(outcome string) { counters[outcome].Inc() }}
}

// serve is a stream.Protocol.
func (j *joins) serve(ctx context.Context, c *stream.Conn) error {
	answer := j.answer(c)
	if answer == nil {
		return nil
	}
	nc := c.Net()
	nc.SetWriteDeadline(time.Now().Add(join.Timeout))
	_, err := nc.Write(answer.Append(nil))
	c.HangUp()
	return err
}

// answer reads the request and computes the answer; nil: there was no request.
func (j *joins) answer(c *stream.Conn) *join.Answer {
	if wait := j.limits.begin(c.Peer, time.Now()); wait > 0 {
		j.counted(joinLimited)
		c.Warn("join_limited", "a request for a certificate was put off: too many are open, or too many of this "+
			"address "+
			"have failed")
		return &join.Answer{Refused: join.Refused{Reason: "too many requests for certificates are open, or too " +
			"many from " +
			"this address have failed", Wait: wait}}
	}
	failed := true
	defer func() { j.limits.end(c.Peer, failed, time.Now()) }()
	if !c.SetReadDeadline(time.Now().Add(joinPatience)) {
		return nil
	}
	r, err := join.ReadRequest(c.Net())
	if err != nil {
		failed = !c.Woken()
		if errors.Is(err, io.EOF) && !failed {
			return nil
		}
		j.counted(joinMalformed)
		c.Warn("join_malformed", "a request for a certificate cannot be read", "error", err)
		return &join.Answer{Refused: join.Refused{Reason: "the request cannot be read: " + err.Error()}}
	}
	answer, outcome := j.s.fleet.own().Sign(r, holder(c))
	j.counted(string(outcome))
	failed = outcome == pki.Denied
	if answer.Certificate == nil {
		c.Warn("join_refused", "a host got no certificate", "host", r.Name, "reason", answer.Reason)
	} else {
		j.s.log.Info("a host got a certificate", "host", r.Name, "outcome", string(outcome), "peer", c.Remote())
	}
	return answer
}

// holder is the certificate that the peer showed, and that was verified; nil: it showed none.
func holder(c *stream.Conn) *x509.Certificate {
	state, _ := c.TLS()
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

// Bounds of requests for certificates.
const (
	maxJoins        = 256             // at a time
	maxJoinsPerIP   = 8               // of one address, see package origin; 1 while failures of it are remembered
	maxJoinFailures = 10              // of one address at once; then one each joinFailureEvery
	maxJoinPeers    = 1 << 12         // addresses that are remembered
	joinBusy        = 5 * time.Second // until another attempt
	joinPatience    = 3 * time.Second // for a request: it is short, and is sent as soon as the connection is there

	joinFailureEvery = 6 * time.Second
)

// joinLimits bounds requests for certificates, by address.
type joinLimits struct {
	mu   sync.Mutex
	open int
	of   map[netip.Prefix]*joinPeer
}

// joinPeer is what is known of an address.
type joinPeer struct {
	open   int
	failed time.Time // until then it takes for its failures to be forgotten
}

// begin admits a request, or returns how long it must wait.
func (l *joinLimits) begin(peer netip.Addr, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := origin.Network(peer)
	p := l.of[from]
	if p == nil {
		l.forget(now)
		p = new(joinPeer)
	}
	const allowed = (maxJoinFailures - 1) * joinFailureEvery
	owed, most := p.failed.Sub(now), maxJoinsPerIP
	if owed > 0 {
		most = 1 // addresses that only hold places are soon down to this one, half of the time
	}
	switch {
	case owed > allowed:
		return owed - allowed
	case l.open >= maxJoins, p.open >= most && !origin.Local(peer), len(l.of) >= maxJoinPeers:
		return joinBusy
	}
	if l.of == nil {
		l.of = make(map[netip.Prefix]*joinPeer)
	}
	l.of[from] = p
	l.open++
	p.open++
	return 0
}

// end ends a request that was admitted.
func (l *joinLimits) end(peer netip.Addr, failed bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.of[origin.Network(peer)]
	l.open--
	p.open--
	if !failed {
		return
	}
	if p.failed.Before(now) {
		p.failed = now
	}
	p.failed = p.failed.Add(joinFailureEvery)
}

// forget makes room: addresses without open requests whose failures are forgotten.
func (l *joinLimits) forget(now time.Time) {
	if len(l.of) < maxJoinPeers {
		return
	}
	for from, p := range l.of {
		if p.open == 0 && !p.failed.After(now) {
			delete(l.of, from)
		}
	}
}
