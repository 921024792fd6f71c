package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"fanin/ingest"
	"fanin/internal/natsconn"
	"fanin/internal/wire"
)

// agents answers agents that ask over NATS. There are no connections: an
// agent is there from its hello until it falls silent.
type agents struct {
	n     *Input
	me    wire.Welcome
	slots chan struct{}  // one for each message being worked on
	busy  sync.WaitGroup // those messages

	mu     sync.Mutex
	ending bool // messages are left to be asked again: an Unsubscribe does not wait for its handler
	here   map[string]*presentAgent
}

// presentAgent is an agent that said hello.
type presentAgent struct {
	session *ingest.Claim
	answers string // the subject of its hello's answer: for words that nobody asked for
	heard   time.Time
	gone    bool           // nothing new is begun
	flying  sync.WaitGroup // its batches in Append
}

const (
	maxWorking = 64
	address    = "NATS"
)

func newAgents(n *Input) *agents {
	return &agents{n: n, me: n.Welcome(""), slots: make(chan struct{}, maxWorking), here: make(map[string]*presentAgent)}
}

// run serves agents until the listener drains, unless and until another log's
// collector does so: their agents would be torn between two logs.
func (a *agents) run() {
	for a.n.connected() {
		since := a.n.Conn.Stats().Reconnects
		subs, err := a.subscribe()
		a.n.setName(err)
		if err == nil {
			a.n.setTrouble("agents", nil)
			err = a.serve(subs, since)
			a.n.setName(err)
			a.close(subs)
		}
		if err == nil {
			return
		}
		a.n.setTrouble("agents", err)
		if !a.n.pause(time.Second + rand.N(2*time.Second)) { // of two that stand back for each other, one is first
			return
		}
	}
}

// serve looks after the agents that are here until the listener drains, or another
// has the name. That can be so when the server was away: the other was back first.
func (a *agents) serve(subs []*nats.Subscription, since uint64) error {
	for a.n.pause(time.Second) {
		a.forgetSilent()
		a.n.Metrics.countDrops(subs...)
		if now := a.n.Conn.Stats().Reconnects; now != since && a.n.Conn.IsConnected() {
			if err := a.alone(); err != nil {
				return err
			}
			since = now
		}
	}
	return nil
}

// close lets all agents go when what is being worked on has its answers.
func (a *agents) close(subs []*nats.Subscription) {
	a.n.Metrics.countDrops(subs...)
	for _, sub := range subs {
		sub.Unsubscribe()
	}
	a.setEnding(true)
	a.busy.Wait() // their answers go out before the drain does
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.here {
		a.leaveLocked(x, wire.AppendDrain(nil))
	}
}

func (a *agents) setEnding(is bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ending = is
}

// subscribe listens, if nobody else of this name does. It says whose collector it is
// before it asks for others: of two that begin at once, the one that asks later hears
// of the other.
func (a *agents) subscribe() (subs []*nats.Subscription, err error) {
	defer func() {
		if err != nil {
			for _, sub := range subs {
				sub.Unsubscribe()
			}
		}
	}()
	if err := a.alone(); err != nil {
		return nil, err
	}
	a.setEnding(false)
	p, who := a.n.Agents, wire.Welcome{Log: a.me.Log, Incarnation: a.me.Incarnation}
	listen := func(subject string, f nats.MsgHandler) error {
		return a.n.subscribed(subject, func() error {
			sub, err := a.n.Conn.Subscribe(subject, f)
			if err != nil {
				return err
			}
			subs = append(subs, sub)
			return sub.SetPendingLimits(-1, a.n.Pending)
		})
	}
	if err := listen(p.Who(), func(m *nats.Msg) { a.tellWho(m, who) }); err != nil {
		return subs, err
	}
	if err := a.alone(); err != nil {
		return subs, err
	}
	if err := listen(p.AllOfLog(a.me.Log), func(m *nats.Msg) { a.work(m, a.ask) }); err != nil {
		return subs, err
	}
	err = listen(p.AllHellos(), func(m *nats.Msg) { a.work(m, a.hello) })
	return subs, err
}

// errTaken is matched by errors that say whose the name is.
var errTaken = errors.New("give one of them another name")

// whoWithin is how long others have to say whose collectors they are.
const whoWithin = 250 * time.Millisecond

// alone makes sure that no other log's collector takes agents of this name.
func (a *agents) alone() error {
	sub, err := a.n.Conn.SubscribeSync(a.n.Conn.NewInbox())
	if err != nil {
		return fmt.Errorf("ask for other collectors: %w", err)
	}
	defer sub.Unsubscribe()
	if err := a.n.Conn.PublishRequest(a.n.Agents.Who(), sub.Subject, nil); err != nil {
		return fmt.Errorf("ask for other collectors: %w", err)
	}
	ctx, cancel := context.WithTimeout(a.n.ctx, whoWithin)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil // nobody more answers
		}
		var f wire.Frame
		if wire.NewDecoder(bytes.NewReader(m.Data)).Next(&f) == nil && f.Kind == wire.KindWelcome && f.Welcome.Log != a.me.Log {
			return fmt.Errorf("the collector of the log %s takes agents = %q on this server already; %w", f.Welcome.Log, a.n.Agents, errTaken)
		}
	}
}

// work does one message on a goroutine of its own.
func (a *agents) work(m *nats.Msg, f func(m *nats.Msg, agent string)) {
	agent := natsconn.AgentOf(m.Subject)
	if !strings.HasPrefix(m.Reply, a.n.Agents.Answer(agent, "")) {
		a.n.reject("subject", "a message of an agent wants its answer elsewhere than it may", "subject", m.Subject, "reply", m.Reply)
		return
	}
	a.slots <- struct{}{}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending {
		<-a.slots
		return
	}
	a.busy.Go(func() { // ends with its answer
		defer func() { <-a.slots }()
		f(m, agent)
	})
}

// tellWho says whose collector this is. It answers to inboxes only: with a subject of
// the asker's choice it would publish where he may not.
func (a *agents) tellWho(m *nats.Msg, who wire.Welcome) {
	if !strings.HasPrefix(m.Reply, nats.InboxPrefix) && !strings.HasPrefix(m.Reply, a.n.Agents.Answers()) {
		a.n.reject("subject", "who asks for this collector wants the answer elsewhere than in an inbox", "reply", m.Reply)
		return
	}
	a.reply(m.Reply, wire.AppendWelcome(nil, who))
}

func (a *agents) reply(to string, frame []byte) {
	if err := a.n.Conn.Publish(to, frame); err != nil {
		a.n.limited.Warn("nats_answer", "cannot answer over NATS; the agent asks again", "to", to, "error", err)
	}
}

// fault tells an agent that it cannot go on, and counts why.
func (a *agents) fault(to string, f *ingest.Fault) {
	a.n.reject(f.Reason, "an agent's message was not taken: "+f.Text, "to", to)
	a.reply(to, wire.AppendFault(nil, f.Text, ingest.FaultPause))
}

// hello takes a greeting: the agent's older session ends, and it learns where its
// streams stand.
func (a *agents) hello(m *nats.Msg, agent string) {
	var f wire.Frame
	if err := wire.NewDecoder(bytes.NewReader(m.Data)).Next(&f); err != nil {
		a.fault(m.Reply, &ingest.Fault{Reason: "protocol", Text: err.Error()})
		return
	}
	if err := a.n.checkHello(&f, agent, wire.Version); err != nil {
		a.fault(m.Reply, err)
		return
	}
	x := &presentAgent{answers: m.Reply, heard: time.Now()}
	ctx, cancel := context.WithTimeout(a.n.ctx, 10*time.Second)
	defer cancel()
	claim := func() (*ingest.Claim, error) {
		return a.n.Sessions.Claim(ctx, f.Hello, address, func(reason string) { a.evict(x, reason) })
	}
	session, err := claim()
	if err != nil && a.vacated(ctx, agent) {
		session, err = claim()
	}
	if err != nil {
		a.fault(m.Reply, &ingest.Fault{Reason: "agent_id", Text: err.Error()})
		return
	}
	a.mu.Lock()
	x.session = session
	a.here[agent] = x
	a.mu.Unlock()
	for frame := range wire.WelcomeFrames(a.n.Welcome(agent), int(a.n.Conn.MaxPayload())-64) {
		a.reply(m.Reply, frame)
	}
	a.n.Log.Debug("agent greeted over NATS", "agent", agent, "run", f.Hello.Run, "software", f.Hello.Software)
}

// vacated reports whether the session that has an agent's id is nobody's any more,
// and over: when nobody listens for its answers, its process is gone.
func (a *agents) vacated(ctx context.Context, agent string) bool {
	a.mu.Lock()
	x := a.here[agent]
	a.mu.Unlock()
	if x == nil {
		return false
	}
	asked, cancel := context.WithTimeout(ctx, 300*time.Millisecond) // who is there does not answer a pong
	defer cancel()
	if _, err := a.n.Conn.RequestWithContext(asked, x.answers, wire.AppendPing(nil, wire.KindPong, 0)); !errors.Is(err, nats.ErrNoResponders) {
		return false
	}
	a.mu.Lock()
	a.leaveLocked(x, nil)
	a.mu.Unlock()
	select {
	case <-x.session.Done():
		return true
	case <-ctx.Done():
		return false
	}
}

// checkHello is what a message of an agent must begin with. The server vouches
// for the subject, so the host must be what the subject says, too.
func (n *Input) checkHello(f *wire.Frame, agent string, least int) *ingest.Fault {
	switch {
	case f.Kind != wire.KindHello:
		return &ingest.Fault{Reason: "protocol", Text: "a message of an agent begins with a hello"}
	case f.Hello.Agent != agent:
		return &ingest.Fault{Reason: "agent_id", Text: fmt.Sprintf("agent %q says that it is %q", agent, f.Hello.Agent)}
	}
	if bad := ingest.CheckHello(f.Hello, least); bad != nil {
		return bad
	}
	if f.Hello.Version == 1 && !n.TrustHost {
		f.Hello.Host = agent // that version named any host; what it left in a stream is taken all the same
	}
	if f.Hello.Host != "" && f.Hello.Host != agent && !n.TrustHost {
		return &ingest.Fault{Reason: "host", Text: fmt.Sprintf("host %q is not the agent's id, %q, which is all that a NATS server can vouch for: "+
			"set host in the agent's configuration, or trust_host = true in [[collector.nats]]", f.Hello.Host, agent)}
	}
	return nil
}

// evict ends a session because the agent came again. It does not wait.
func (a *agents) evict(x *presentAgent, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaveLocked(x, wire.AppendFault(nil, reason, ingest.FaultPause))
}

// leaveLocked lets an agent go, with a last word, once nothing of it is in flight.
func (a *agents) leaveLocked(x *presentAgent, word []byte) {
	if x.gone {
		return
	}
	x.gone = true
	if a.here[x.session.Hello.Agent] == x {
		delete(a.here, x.session.Hello.Agent)
	}
	go func() { // ends with the last Append
		x.flying.Wait()
		a.n.Sessions.Release(x.session)
		if word != nil {
			a.reply(x.answers, word)
		}
	}()
}

func (a *agents) forgetSilent() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.here {
		if time.Since(x.heard) > a.n.AgentTimeout {
			a.leaveLocked(x, nil)
		}
	}
}

// ask takes a batch or a ping of an agent that said hello.
func (a *agents) ask(m *nats.Msg, agent string) {
	d, err := a.n.newFrames(m.Data)
	var f wire.Frame
	var bad *ingest.Fault
	if err == nil {
		if err = d.Next(&f); err == nil {
			bad = a.n.checkHello(&f, agent, wire.Version)
		}
	}
	if err != nil {
		bad = &ingest.Fault{Reason: "protocol", Text: err.Error()}
	}
	if bad != nil {
		a.n.freeText(f.Batch.Text)
		a.fault(m.Reply, bad)
		return
	}
	x := a.enter(&f.Hello)
	if x == nil {
		a.reply(m.Reply, wire.AppendFault(nil, "say hello first: it was forgotten, or the collector started anew", 0))
		return
	}
	defer x.flying.Done()
	x.session.Frames.Add(1)
	switch err := d.Next(&f); {
	case errors.Is(err, errNoRoom):
		a.reply(m.Reply, wire.AppendAnswer(nil, wire.Answer{Kind: wire.KindLater, Stream: f.Batch.Stream, Reason: err.Error()}))
	case err != nil:
		a.fault(m.Reply, &ingest.Fault{Reason: "protocol", Text: err.Error()})
	case f.Kind == wire.KindPing:
		a.reply(m.Reply, wire.AppendPing(nil, wire.KindPong, f.N))
	case f.Kind == wire.KindDrain: // it goes down
		a.mu.Lock()
		a.leaveLocked(x, nil)
		a.mu.Unlock()
	case isOfStream(f.Kind):
		outcome := a.n.offer(&f.Batch, &x.session.Hello)
		a.reply(m.Reply, wire.AppendAnswer(nil, wire.AnswerTo(f.Batch.Stream, outcome)))
	default:
		a.n.freeText(f.Batch.Text)
		a.fault(m.Reply, &ingest.Fault{Reason: "protocol", Text: fmt.Sprintf("a frame of kind %d is not an agent's to send here", f.Kind)})
	}
}

// enter finds the session that a message belongs to, with the message in flight;
// nil: there is none.
func (a *agents) enter(h *wire.Hello) *presentAgent {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.here[h.Agent]
	if x == nil || x.gone || x.session.Hello.Instance != h.Instance || x.session.Hello.Run != h.Run {
		return nil
	}
	x.heard = time.Now()
	x.flying.Add(1)
	return x
}

func isOfStream(k wire.Kind) bool {
	return k == wire.KindBatch || k == wire.KindOpen || k == wire.KindSkip || k == wire.KindEnd
}

var errBusy = errors.New("the batch before it is still being written")

var errNoRoom = errors.New("too many lines wait to be written; send again later")

// newFrames reads the frames of one message. Texts lie in blocks of the budget,
// which freeText gives back.
func (n *Input) newFrames(message []byte) (*wire.Decoder, error) {
	d := wire.NewDecoder(bytes.NewReader(message))
	var err error
	if d.Zstd, err = n.unpack(); err != nil {
		return nil, fmt.Errorf("prepare to open compressed texts: %w", err)
	}
	opening := false
	d.Room = func(size int) ([]byte, error) {
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		defer cancel()
		take := n.Budget.Acquire
		if opening {
			take = n.Budget.Extend
		}
		opening = true
		block, err := take(ctx, size)
		if err != nil {
			return nil, errNoRoom // at the end, too: it is no fault of the message
		}
		return block, nil
	}
	d.Free = n.freeText
	return d, nil
}

func (n *Input) freeText(text []byte) {
	if cap(text) > 0 {
		n.Budget.Release(text)
	}
}

// offer gives an agent's batch to the keeper, and its text back to the budget.
func (n *Input) offer(b *wire.Batch, h *wire.Hello) error {
	defer n.freeText(b.Text)
	b.Input = "nats-agent"
	ingest.SetSession(b, h, n.TrustHost, time.Now())
	switch {
	case b.Stream.IsZero():
		return &wire.Refused{Reason: "a batch of no stream"}
	case !n.Sessions.StartFrame(b.Agent, b.Stream):
		return errBusy
	}
	defer n.Sessions.FinishFrame(b.Agent, b.Stream)
	return ingest.Offer(n.ctx, n.Out, n.agentLines, *b)
}

// reject says why a message is not taken, and counts it.
func (n *Input) reject(reason, text string, args ...any) {
	n.Metrics.rejectMessage(reason)
	n.limited.Warn("nats_"+reason, text, args...)
}
