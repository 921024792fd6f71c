package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"fanin/internal/join"
	"fanin/internal/retry"
)

// renewer renews the certificate that `join` got: when two thirds of its time are over, and as soon
// as the collector shows that it has another authority. It is nil where the certificate is not
// that of `join`.
type renewer struct {
	identity *identity
	addrs    []string
	client   func() *tls.Config
	explain  func(error) error
	log      *retry.Log
	info     *slog.Logger
	now      func() time.Time
	rotated  chan struct{} // gets an element when the collector has another authority

	expires  atomic.Int64 // of the certificate, in seconds since 1970
	renewals atomic.Uint64
	failures atomic.Uint64
}

// newRenewer returns the renewer of an agent; nil: its certificate is renewed by others.
func newRenewer(s *settings, log *slog.Logger) (*renewer, error) {
	t := s.Agent.TLS
	i := newIdentity(s.Agent.State)
	if t == nil || s.to.Scheme != "tls" || t.Cert != i.path() || t.Key != i.path() || t.CA != i.ca() {
		return nil, nil
	}
	files := t.Files(log)
	client, err := files.Client()
	if err != nil {
		return nil, err
	}
	return &renewer{identity: i, addrs: s.to.Addrs, client: client, explain: files.ExplainClient,
		log: retry.NewLog(log), info: log, now: time.Now, rotated: make(chan struct{}, 1)}, nil
}

const (
	renewLook = time.Minute // between two looks at the clock
	renewMin  = time.Minute // between two attempts, at first
	renewMax  = time.Hour
)

// run renews until ctx ends.
func (r *renewer) run(ctx context.Context) {
	backoff := retry.Backoff{Min: renewMin, Max: renewMax}
	for due := false; ; {
		wait, rotated := renewLook, r.rotated
		if err := r.step(ctx, due); err != nil && ctx.Err() == nil {
			wait, rotated = backoff.Next(), nil
			r.log.Warn("renew", "the certificate cannot be renewed now; the agent goes on with the one that it "+
				"has, and "+
				"tries again", "expires", time.Unix(r.expires.Load(), 0).UTC(), "err", err, "in", wait)
		} else {
			backoff.Reset()
			due = false
		}
		select {
		case <-ctx.Done():
			return
		case <-rotated:
			due = true
		case <-time.After(wait):
		}
	}
}

// step renews if it is time, or due for another reason.
func (r *renewer) step(ctx context.Context, due bool) error {
	leaf, err := r.identity.certificate()
	if err != nil {
		return err
	}
	r.expires.Store(leaf.NotAfter.Unix())
	if !due && r.now().Before(renewAt(leaf)) {
		return nil
	}
	if err := r.renew(ctx, leaf.Subject.CommonName); err != nil {
		r.failures.Add(1)
		return err
	}
	r.renewals.Add(1)
	return nil
}

// renewAt is when a certificate is renewed: when two thirds of its time are over, and up to a
// fiftieth later, by its name, so that hosts that joined together do not come together.
func renewAt(c *x509.Certificate) time.Time {
	h := fnv.New32a()
	h.Write([]byte(c.Subject.CommonName))
	life := c.NotAfter.Sub(c.NotBefore)
	return c.NotBefore.Add(life/3*2 + life/50/100*time.Duration(h.Sum32()%100))
}

// renew gets a certificate for a new key, at the first address that gives one.
func (r *renewer) renew(ctx context.Context, name string) error {
	var problems []error
	for _, address := range r.addrs {
		err := r.renewAt(ctx, address, name)
		if err == nil {
			return nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", address, r.explain(err)))
	}
	return errors.Join(problems...)
}

func (r *renewer) renewAt(ctx context.Context, address, name string) error {
	key, err := join.NewKey()
	if err != nil {
		return err
	}
	request, err := join.NewRequest(join.Renew, join.Secret{}, name, key)
	if err != nil {
		return err
	}
	config := r.client()
	config.NextProtos = []string{join.Protocol}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	answer, err := join.Ask(ctx, address, config, request)
	if err != nil {
		return err
	}
	issued, err := answer.Check(key, name, r.now())
	if err != nil {
		return err
	}
	mark, err := r.identity.mark()
	if err != nil {
		return err
	}
	if err := r.identity.store(mark, issued, key); err != nil {
		return err
	}
	r.expires.Store(issued.Leaf.NotAfter.Unix())
	r.info.Info("the certificate was renewed; it is used from the next connection on", "name", name,
		"expires", issued.Leaf.NotAfter.UTC())
	return nil
}

// watch returns how to dial, so that a collector with another authority is noticed: it leads from
// the one that this agent trusts to its own with a certificate in between.
func (r *renewer) watch(dial func() *tls.Config) func() *tls.Config {
	if r == nil {
		return dial
	}
	return func() *tls.Config {
		c := dial()
		c.VerifyConnection = func(state tls.ConnectionState) error {
			direct := func(chain []*x509.Certificate) bool { return len(chain) <= 2 }
			if !slices.ContainsFunc(state.VerifiedChains, direct) {
				select {
				case r.rotated <- struct{}{}:
				default: // it is known
				}
			}
			return nil
		}
		return c
	}
}

// metrics are those of the certificate.
func (r *renewer) metrics() []metric {
	if r == nil {
		return nil
	}
	return []metric{
		{"fanin_agent_certificate_expiry_timestamp_seconds", "gauge", "When the agent's certificate expires, in " +
			"seconds " +
			"since 1970.", []sample{{float64(r.expires.Load()), nil}}},
		{"fanin_agent_certificate_renewals_total", "counter", "Times that the agent has renewed its certificate.",
			[]sample{{float64(r.renewals.Load()), nil}}},
		{"fanin_agent_certificate_renewal_failures_total", "counter", "Failed attempts to renew it.",
			[]sample{{float64(r.failures.Load()), nil}}},
	}
}
