package ingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/lines"
	"fanin/internal/origin"
	"fanin/internal/wire"
)

// agentConn is the connection of an agent: one goroutine reads frames, each
// frame waits for its outcome on a goroutine of its own, and whoever has an
// answer writes it.
type agentConn struct {
	*conn
	frames  *frameReader
	dec     *wire.Decoder
	session *Claim
	origin  string // see address
	answers answers
	arrival *Arrival
	unpaid  int           // bytes that came before the welcome
	beats   *time.Timer   // runs while the collector does not read
	held    held          // what this connection holds, so that it cannot take all the budget
	slots   chan struct{} // one for each frame in flight
	flying  sync.WaitGroup
	evicted atomic.Pointer[string] // why another connection took over
}

const (
	maxFlying = 16      // frames of one connection in Append at once
	maxHeld   = 8 << 20 // bytes of one connection in flight: two of the largest frames
)

func serveAgent(c *conn, head []byte) {
	a := &agentConn{conn: c, slots: make(chan struct{}, maxFlying)}
	a.held.fewer.L = &a.held.mu
	a.answers.nc, a.answers.timeout = c.nc, c.t.FrameTimeout
	a.frames = &frameReader{c: c, head: head, slow: a.slow}
	a.arrival = c.t.Budget.Arrive(c.peer, &a.frames.FrameClock, c.wake)
	defer c.t.Budget.Leave(c.peer, a.arrival)
	a.beats = time.AfterFunc(time.Hour, a.beat)
	a.beats.Stop()
	a.dec = wire.NewDecoder(a.frames)
	a.dec.Grow, a.dec.Room, a.dec.Free = a.grow, a.open, a.free
	c.t.Metrics.agentConns.Inc()
	err := a.greet()
	if err == nil {
		err = a.takeFrames()
	}
	a.part(err)
}

// greet reads the hello, claims the agent id and answers with the welcome.
func (a *agentConn) greet() error {
	var f wire.Frame
	a.frames.expect(a.t.HandshakeTimeout, a.t.HandshakeTimeout)
	if err := a.dec.Next(&f); err != nil {
		return err
	}
	h := f.Hello
	if err := a.checkHello(f.Kind, h); err != nil {
		a.free(f.Batch.Text)
		return err
	}
	ctx, cancel := context.WithTimeout(a.t.ctx, a.t.HandshakeTimeout)
	defer cancel()
	session, err := a.t.Sessions.Claim(ctx, h, a.remote(), a.evict)
	if err != nil {
		return &Fault{"agent_id", err.Error()}
	}
	a.session, a.origin = session, a.address()
	if a.dec.Zstd, err = a.t.unpack(); err != nil {
		return fmt.Errorf("prepare to open compressed texts: %w", err)
	}
	for frame := range wire.WelcomeFrames(a.t.Welcome(h.Agent), 0) {
		if !a.answers.write(frame) {
			return errors.New("the agent does not read its welcome")
		}
	}
	a.charge(a.unpaid)
	a.t.Log.Debug("agent connected", "agent", h.Agent, "peer", a.remote(), "run", h.Run, "software", h.Software)
	return nil
}

func (a *agentConn) checkHello(k wire.Kind, h wire.Hello) error {
	if k != wire.KindHello {
		return &Fault{"protocol", "an agent begins with a hello"}
	}
	if f := CheckHello(h, wire.Version); f != nil {
		return f
	}
	switch {
	case a.t.Welcome == nil:
		return &Fault{"protocol", "this listener takes plain lines only"}
	case a.t.RequireAgentCert:
		return a.checkCert(h)
	}
	return nil
}

// checkCert wants the agent's id, and the host that its lines name, among its
// certificate's names: the subject's common name and the DNS names. The host may
// also be the agent's id.
func (a *agentConn) checkCert(h wire.Hello) error {
	tc, ok := a.nc.(*tls.Conn)
	if !ok || len(tc.ConnectionState().VerifiedChains) == 0 {
		return &Fault{"certificate", "this listener wants a certificate of the agent: set tls = {cert, key} in the agent's configuration"}
	}
	leaf := tc.ConnectionState().VerifiedChains[0][0]
	names := certNames(leaf)
	if !slices.Contains(names, h.Agent) {
		return &Fault{"certificate", fmt.Sprintf("agent id %q is not a name in the agent's certificate, which has %q", h.Agent, names)}
	}
	if h.Host != "" && h.Host != h.Agent && !slices.Contains(names, h.Host) && !a.t.TrustHost {
		return &Fault{"host", fmt.Sprintf("host %q is neither the agent's id nor a name in its certificate, which has %q: "+
			"set host in the agent's configuration, or trust_host = true at the listener", h.Host, names)}
	}
	return nil
}

func certNames(leaf *x509.Certificate) []string {
	return slices.DeleteFunc(append([]string{leaf.Subject.CommonName}, leaf.DNSNames...), func(s string) bool { return s == "" })
}

// address is what the agent's streams are counted by: none when a certificate
// says whose they are.
func (a *agentConn) address() string {
	if tc, ok := a.nc.(*tls.Conn); ok && len(tc.ConnectionState().VerifiedChains) > 0 {
		return ""
	}
	return origin.Name(a.peer)
}

// evict ends the connection because the agent came again. It does not wait.
func (a *agentConn) evict(reason string) {
	a.evicted.Store(&reason)
	a.wake()
	a.raw.SetWriteDeadline(past) // an answer that nobody reads holds up nothing
}

// grow gives the decoder space for a text that comes.
func (a *agentConn) grow(have []byte, n int) ([]byte, error) {
	if have == nil {
		a.hold(BlockSize(n))
	}
	return a.arrival.Grow(a.ctx, have, n, a.wait)
}

// open gives the decoder a block for the content of a compressed text, which is
// complete and still held.
func (a *agentConn) open(n int) (b []byte, err error) {
	a.arrival.Done(true)
	a.hold(BlockSize(n))
	a.wait(func() error {
		b, err = a.t.Budget.Extend(a.ctx, n)
		return err
	})
	return b, err
}

// hold waits until the connection may have n more bytes in flight.
func (a *agentConn) hold(n int64) {
	if !a.held.try(n) {
		a.wait(func() error { a.held.wait(n); return nil })
	}
}

// wait runs f, in which the collector waits for itself and not for the agent: the
// frame's clock stands still, and the agent hears that it is not forgotten.
func (a *agentConn) wait(f func() error) error {
	a.frames.stop()
	a.beats.Reset(a.beatEvery())
	err := f()
	a.beats.Stop()
	a.frames.goOn()
	return err
}

// slow keeps to the rate of the agent's address, once the agent is welcome: until then
// it expects nothing else than the welcome, and not for long.
func (a *agentConn) slow(n int) {
	if a.session == nil {
		a.unpaid += n
		return
	}
	a.charge(n)
}

// charge counts n bytes of the agent's address, and waits for as long as its rate wants.
func (a *agentConn) charge(n int) {
	if d := a.t.rates.charge(a.peer, n, time.Now()); d > 0 {
		a.t.Metrics.slowed.Inc()
		a.wait(func() error { a.sleep(d); return nil })
	}
}

// beat says a word without being asked, for no ping is read now.
func (a *agentConn) beat() {
	if a.answers.write(wire.AppendPing(nil, wire.KindPong, 0)) && a.frames.stopped.Load() != 0 {
		a.beats.Reset(a.beatEvery())
	}
}

func (a *agentConn) beatEvery() time.Duration { return a.t.AgentTimeout / 3 }

func (a *agentConn) free(text []byte) {
	if cap(text) > 0 {
		a.held.add(-int64(cap(text)))
		a.t.Budget.Release(text)
	}
}

// takeFrames reads frames until an error ends it.
func (a *agentConn) takeFrames() error {
	for {
		var f wire.Frame
		a.frames.expect(a.t.AgentTimeout, a.t.FrameTimeout)
		err := a.dec.Next(&f)
		if err != nil {
			if a.arrival.Dismissed() {
				a.answers.write(wire.AppendAnswer(nil, wire.AnswerTo(f.Batch.Stream, ErrCrowded)))
			}
			return err
		}
		a.arrival.Done(true)
		a.session.Frames.Add(1)
		switch f.Kind {
		case wire.KindBatch, wire.KindOpen, wire.KindSkip, wire.KindEnd:
			if err := a.take(f.Batch); err != nil {
				return err
			}
		case wire.KindPing:
			if !a.answers.write(wire.AppendPing(nil, wire.KindPong, f.N)) {
				return &Fault{"protocol", "the agent does not read its answers"}
			}
		default:
			a.free(f.Batch.Text)
			return &Fault{"protocol", fmt.Sprintf("a frame of kind %d is not an agent's to send here", f.Kind)}
		}
	}
}

// take gives a frame's batch to the keeper, on a goroutine of its own.
func (a *agentConn) take(b wire.Batch) error {
	b.Input, b.Address = "agent", a.origin
	SetSession(&b, &a.session.Hello, a.t.TrustHost, time.Now())
	if b.Stream.IsZero() || !a.t.Sessions.StartFrame(b.Agent, b.Stream) {
		a.free(b.Text)
		return &Fault{"protocol", fmt.Sprintf("stream %v: a frame without an answer is in flight, or it is no stream", b.Stream)}
	}
	select {
	case a.slots <- struct{}{}:
	default:
		a.wait(func() error { a.slots <- struct{}{}; return nil })
	}
	if len(b.Text) > 0 {
		a.t.agentLines.Received(lines.Count(b.Text), len(b.Text))
	}
	a.flying.Go(func() { // owned by flying; ends with its Append
		err := Offer(a.t.ctx, a.t.Out, b)
		a.free(b.Text)
		a.t.Sessions.FinishFrame(b.Agent, b.Stream) // before the answer: the next frame may come right after it
		a.answers.write(wire.AppendAnswer(nil, wire.AnswerTo(b.Stream, err)))
		<-a.slots
	})
	return nil
}

// part waits for what is in flight and answers it, lets go of the agent id, and
// only then tells the agent why the connection ends: whoever takes over need
// not wait for that. err is what ended the reading.
func (a *agentConn) part(err error) {
	a.flying.Wait()
	if a.session != nil {
		a.t.Sessions.Release(a.session)
	}
	if last := a.lastWord(err); last != nil {
		a.answers.hurry()
		a.answers.write(last)
		hangUp(a.nc)
	}
}

// lastWord is the frame that ends the connection; nil: the agent is gone.
func (a *agentConn) lastWord(err error) []byte {
	var f *Fault
	evicted := a.evicted.Load()
	switch {
	case evicted != nil:
		a.t.limited.Warn("taken_over", "an agent's connection was ended: "+*evicted, "peer", a.remote())
		return wire.AppendFault(nil, *evicted, FaultPause)
	case a.t.isDraining():
		return wire.AppendDrain(nil)
	case a.arrival.Dismissed():
		return a.accuse("room", ErrCrowded.Error())
	case errors.As(err, &f):
		return a.accuse(f.Reason, f.Text)
	case errors.Is(err, wire.ErrProtocol):
		return a.accuse("protocol", err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return a.accuse("timeout", "the agent was silent, or sent a frame too slowly: "+err.Error())
	}
	if !errors.Is(err, io.EOF) {
		a.t.Log.Debug("an agent's connection broke", "peer", a.remote(), "error", err)
	}
	return nil
}

// accuse counts and logs why the connection ends, and is the frame that says it.
func (a *agentConn) accuse(reason, text string) []byte {
	a.reject(reason, "an agent's connection was ended: "+text)
	return wire.AppendFault(nil, text, FaultPause)
}

// held counts the bytes of one connection in flight.
type held struct {
	mu    sync.Mutex
	n     int64
	fewer sync.Cond
}

// wait adds n when the sum stays within maxHeld. Only the reading goroutine
// waits; what it waits for are outcomes, which always come. A compressed text
// and its content fit together.
func (h *held) wait(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.n > 0 && h.n+n > maxHeld {
		h.fewer.Wait()
	}
	h.n += n
}

// try is wait without waiting.
func (h *held) try(n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n > 0 && h.n+n > maxHeld {
		return false
	}
	h.n += n
	return true
}

func (h *held) add(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n += n
	h.fewer.Signal()
}
