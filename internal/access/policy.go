package access

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Policy is who may do what. Make it with New. Call Look every second, or so: it reads changed
// tokens files, and ends what may not go on.
type Policy struct {
	Sessions

	// Failed is called when a peer showed a token that is not known: failures is how many times
	// it did since the last call for its address. It is called a bounded number of times.
	Failed func(peer Peer, failures int)

	log      *slog.Logger
	attempts attempts
	granted  atomic.Pointer[grants]

	reading sync.Mutex // of the files
	files   map[string]*tokensFile

	mu   sync.Mutex
	held map[*hold]struct{}
}

// New returns the policy of rules. The error is why a file of tokens cannot be used.
func New(rules []Rule, log *slog.Logger) (*Policy, error) {
	p := &Policy{log: log, held: make(map[*hold]struct{}), attempts: newAttempts()}
	return p, p.Use(rules)
}

// Check reports why the files of tokens in rules cannot be used.
func Check(rules []Rule) error {
	_, err := readAll(rules, nil)
	return err
}

// Use replaces the rules. On an error nothing changes.
func (p *Policy) Use(rules []Rule) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	files, err := readAll(rules, p.files)
	if err != nil {
		return err
	}
	p.files = files
	p.grant(rules)
	for _, f := range files {
		if len(f.tokens) == 0 {
			p.log.Warn("a file of tokens has none: no login works with it", "file", f.path)
		}
	}
	return nil
}

// readAll reads the files that rules name. Those that are known keep what they have.
func readAll(rules []Rule, known map[string]*tokensFile) (map[string]*tokensFile, error) {
	files := make(map[string]*tokensFile)
	for _, r := range rules {
		if r.Tokens == "" || files[r.Tokens] != nil {
			continue
		}
		f := known[r.Tokens]
		if f == nil {
			f = &tokensFile{path: r.Tokens}
			if f.look(time.Now()); f.err != nil {
				return nil, f.err
			}
		}
		files[r.Tokens] = f
	}
	return files, nil
}

// grant makes the rules count, with the tokens as they are now.
func (p *Policy) grant(rules []Rule) {
	g := &grants{rules: rules}
	for _, r := range rules {
		var tokens []Token
		if f := p.files[r.Tokens]; f != nil {
			tokens = f.tokens
		}
		g.tokens = append(g.tokens, tokens)
	}
	p.granted.Store(g)
	p.endWithout(true)
}

// Look reads the files of tokens that changed, and ends what its caller may not do any more.
func (p *Policy) Look() {
	p.reading.Lock()
	changed := false
	for _, f := range p.files {
		if !f.look(time.Now()) {
			continue
		}
		changed = true
		switch {
		case f.err != nil:
			p.log.Error("a changed file of tokens cannot be used; continuing with the tokens that it had", "err", f.err)
		case len(f.tokens) == 0:
			p.log.Warn("a file of tokens has none: no login works with it", "file", f.path)
		}
	}
	if changed {
		p.grant(p.granted.Load().rules)
	}
	p.reading.Unlock()
	p.endWithout(false)
}

// Tokens returns how many tokens are accepted, and how many of their files cannot be used as
// they are now.
func (p *Policy) Tokens() (tokens, broken int) {
	p.reading.Lock()
	defer p.reading.Unlock()
	for _, f := range p.files {
		tokens += len(f.tokens)
		if f.err != nil {
			broken++
		}
	}
	return tokens, broken
}

// LogsIn reports whether a peer could log in with a token: there are some, and they may be shown
// over its connection.
func (p *Policy) LogsIn(peer Peer) bool {
	return peer.mayShow() && slices.ContainsFunc(p.granted.Load().rules, func(r Rule) bool { return r.Tokens != "" })
}

// Anonymous returns the caller that a peer is without a token.
func (p *Policy) Anonymous(peer Peer) Caller { return p.granted.Load().caller(peer, nil) }

// Identify returns the caller that a peer is with a token. The error is a Refused.
//
// A token that is known is always accepted, however many others were tried from the address: else
// one peer could keep all others behind the same address out. Guessing is hopeless all the same.
func (p *Policy) Identify(peer Peer, token string) (Caller, error) {
	if !peer.mayShow() {
		return Caller{}, &Refused{ReasonUnencrypted, "a token was sent over the network without encryption, so it is " +
			"not accepted, and others may know it: use https (or --tls), and replace the token"}
	}
	hash := HashOf(token)
	g := p.granted.Load()
	if g.has(&hash) {
		return g.caller(peer, &hash), nil
	}
	reason, text := ReasonToken, "unknown token: no tokens_file of [[collector.access]] has it, or not any more"
	failures, limited := p.attempts.fail(peer.Address, time.Now())
	if limited {
		reason, text = ReasonLimited, "unknown token, and too many were tried from this address: wait a minute"
	}
	if failures > 0 && p.Failed != nil {
		p.Failed(peer, failures)
	}
	return Caller{}, &Refused{reason, text}
}

// Begin begins a session of a caller with a token, and returns the value of its cookie.
func (p *Policy) Begin(c Caller) string { return p.Sessions.begin(c.token, time.Now()) }

// Resume returns the caller that a peer is with the cookie of a session. It is false where the
// cookie is no session of this collector's, the session ended, or its token was removed.
func (p *Policy) Resume(peer Peer, cookie string) (c Caller, ok bool) {
	g := p.granted.Load()
	if !peer.mayShow() {
		return c, false
	}
	s, ok := p.Sessions.parse(cookie, time.Now())
	if !ok {
		return c, false
	}
	t := g.session(s)
	if t == nil {
		return c, false
	}
	c = g.caller(peer, &t.Hash)
	c.session = s
	return c, true
}

// Finish ends the session of a caller, and what it has open.
func (p *Policy) Finish(c Caller) {
	if c.session != nil {
		p.Sessions.finish(c.session, time.Now())
		p.endWithout(false)
	}
}

// hold is a request or a connection that is open.
type hold struct {
	caller Caller
	need   Role
	end    context.CancelFunc
}

// Hold notes what a caller with a role has open, until release is called. end is called when the
// caller loses the role, or its session ends.
func (p *Policy) Hold(c Caller, need Role, end func()) (release func()) {
	h := &hold{c, need, end}
	p.mu.Lock()
	p.held[h] = struct{}{}
	p.mu.Unlock()
	if !p.granted.Load().caller(c.Peer, c.token).Roles.Has(need) { // it was lost since c was identified
		end()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.held, h)
	}
}

// endWithout ends what is open and whose session is over. With changed, the grants may be others:
// also what its caller lost the role for.
func (p *Policy) endWithout(changed bool) {
	now, g := time.Now(), p.granted.Load()
	var over []*hold
	p.mu.Lock()
	for h := range p.held {
		c := &h.caller
		if c.session != nil && p.Sessions.over(c.session, now) ||
			changed && !g.caller(c.Peer, c.token).Roles.Has(h.need) {
			over = append(over, h)
			delete(p.held, h)
		}
	}
	p.mu.Unlock()
	for _, h := range over {
		h.end()
	}
}
