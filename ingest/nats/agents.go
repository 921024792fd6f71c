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

// responder answers agents that ask over NATS. There are no connections: an agent is present
// from its hello until it falls silent.
type responder struct {
	n        *Input
	subjects natsconn.Subjects
	me       wire.Welcome
	slots    chan struct{}  // one for each message in progress
	busy     sync.WaitGroup // those messages

	mu      sync.Mutex
	ending  bool                    // no new message is started: Unsubscribe does not wait for its handler
	present map[string]*remoteAgent // by wire.Hello.Owner
}

// remoteAgent is an agent that sent a hello.
type remoteAgent struct {
	session  *ingest.Claim
	entered  chan struct{} // closed when session is set
	answers  string        // the subject of the answer to its hello: for messages that it did not ask for
	heard    time.Time
	gone     bool           // no new batch is started
	inFlight sync.WaitGroup // its batches in Append
}

const (
	maxWorking = 64     // messages in progress at once
	address    = "NATS" // of agents, in the list of sessions
)

func newResponder(n *Input) *responder {
	return &responder{n: n, subjects: n.Agents.Subjects, me: n.Welcome(""), slots: make(chan struct{}, maxWorking),
		present: make(map[string]*remoteAgent)}
}

// run serves agents until the input drains, but not while another log's collector does so:
// the agents would be torn between two logs.
func (r *responder) run() {
	for r.n.connected() {
		since := r.n.Conn.Stats().Reconnects
		subs, err := r.listen()
		r.n.name.set(err)
		if err == nil {
			r.n.setTrouble(agentsPart, nil)
			dropped := make(drops)
			err = r.serve(subs, dropped, since)
			r.n.name.set(err)
			r.close(subs, dropped)
		}
		if err == nil {
			return
		}
		r.n.setTrouble(agentsPart, err)
		if !r.n.life.Pause(time.Second + rand.N(2*time.Second)) { // jitter decides between two that both step back
			return
		}
	}
}

// serve watches over the agents until the input drains, or another collector has the name.
// That happens when the server was away and the other one was back first.
func (r *responder) serve(subs []*nats.Subscription, dropped drops, since uint64) error {
	for r.n.life.Pause(time.Second) {
		r.removeSilent(time.Now())
		r.n.Metrics.countDrops(dropped, subs...)
		if r.n.partition() != nil {
			continue // the ownership says which log has the agents
		}
		if now := r.n.Conn.Stats().Reconnects; now != since && r.n.Conn.IsConnected() {
			if err := r.findOther(); err != nil {
				return err
			}
			since = now
		}
	}
	return nil
}

// close ends the sessions of all agents when what is in progress was answered.
func (r *responder) close(subs []*nats.Subscription, dropped drops) {
	r.n.Metrics.countDrops(dropped, subs...)
	r.unsubscribe(subs) // the last answers go out before the drain
	r.mu.Lock()
	defer r.mu.Unlock()
	last := wire.AppendDrain(nil)
	if r.n.partition() != nil {
		last = nil // the next owner answers what is in the stream: the session goes on
	}
	for _, a := range r.present {
		r.removeLocked(a, last)
	}
}

// unsubscribe ends subscriptions, and waits for the messages in progress.
func (r *responder) unsubscribe(subs []*nats.Subscription) {
	for _, sub := range subs {
		sub.Unsubscribe()
	}
	r.setEnding(true)
	r.busy.Wait()
}

func (r *responder) setEnding(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = is
}

// listen subscribes, if no other collector of this name does. It answers other collectors
// before it asks for them: if two begin at once, the one that asks later finds the other.
func (r *responder) listen() (subs []*nats.Subscription, err error) {
	defer func() {
		if err != nil {
			r.unsubscribe(subs)
		}
	}()
	alone := r.n.partition() == nil // else the ownership decides
	if alone {
		if err := r.findOther(); err != nil {
			return nil, err
		}
	}
	r.setEnding(false)
	me := wire.Welcome{Log: r.me.Log, Incarnation: r.me.Incarnation}
	subscribe := func(subject string, handle nats.MsgHandler) error {
		return r.n.subscribe(subject, func() error {
			sub, err := r.n.Conn.Subscribe(subject, handle)
			if err != nil {
				return err
			}
			subs = append(subs, sub)
			return sub.SetPendingLimits(-1, r.n.Plain.Pending)
		})
	}
	if err := subscribe(r.subjects.Who(), func(m *nats.Msg) { r.answerWho(m, me) }); err != nil {
		return subs, err
	}
	if alone {
		if err := r.findOther(); err != nil {
			return subs, err
		}
	}
	turns := newTurns(r.n)
	inTurn := func(m *nats.Msg) { r.workInTurn(m, turns.next(m)) }
	if err := subscribe(r.subjects.AllOfLog(r.me.Log), inTurn); err != nil {
		return subs, err
	}
	err = subscribe(r.subjects.AllHellos(), r.handleHello)
	return subs, err
}

// workInTurn handles a message of a session.
func (r *responder) workInTurn(m *nats.Msg, turn *ingest.Turn) {
	begun := r.work(m, func(m *nats.Msg, agent string) {
		r.ask(m, agent, turn)
		turn.Answered()
	})
	if !begun {
		go turn.Answered() // ends with the answer to the frame before, which always comes
	}
}

// work handles one message on a goroutine of its own, unless it is not to be handled.
func (r *responder) work(m *nats.Msg, handle func(m *nats.Msg, agent string)) (begun bool) {
	agent := natsconn.AgentOf(m.Subject)
	if !strings.HasPrefix(m.Reply, r.subjects.Answer(agent, "")) {
		r.n.reject("subject", "an agent's message asks for its answer on a subject that is not the agent's",
			"subject", m.Subject, "reply", m.Reply)
		return false
	}
	r.slots <- struct{}{}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		<-r.slots
		return false
	}
	r.busy.Go(func() { // ends with its answer
		defer func() { <-r.slots }()
		handle(m, agent)
	})
	return true
}

// answerWho answers another collector with our log. It answers to inboxes only: on a subject of
// the client's choice it would publish where the client may not.
func (r *responder) answerWho(m *nats.Msg, me wire.Welcome) {
	if !strings.HasPrefix(m.Reply, nats.InboxPrefix) && !strings.HasPrefix(m.Reply, r.subjects.Answers()) {
		r.n.reject("subject", "a request for this collector's log asks for the answer on a subject that is no inbox",
			"reply", m.Reply)
		return
	}
	r.reply(m.Reply, wire.AppendWelcome(nil, me))
}

func (r *responder) reply(to string, frame []byte) {
	if err := r.n.Conn.Publish(to, frame); err != nil {
		r.n.limited.Warn("nats_answer", "cannot answer over NATS; the agent asks again", "to", to, "error", err)
	}
}

// fault answers an agent that it cannot continue, and counts the reason.
func (r *responder) fault(to string, f *ingest.Fault) {
	r.n.reject(f.Reason, "an agent's message was not accepted: "+f.Text, "to", to)
	r.reply(to, wire.AppendFault(nil, f.Text, ingest.FaultPause))
}

// protocolFault is the fault of a message that is none of the protocol.
func protocolFault(format string, args ...any) *ingest.Fault {
	return &ingest.Fault{Reason: "protocol", Text: fmt.Sprintf(format, args...)}
}

// hello handles a hello: the agent's older session ends, and the answer is how far its streams
// are.
func (r *responder) hello(m *nats.Msg, agent string) {
	var f wire.Frame
	if err := wire.NewDecoder(bytes.NewReader(m.Data)).Next(&f); err != nil {
		r.fault(m.Reply, protocolFault("%v", err))
		return
	}
	if err := r.n.checkHello(&f, agent, wire.Version); err != nil {
		r.fault(m.Reply, err)
		return
	}
	if _, err := r.claim(&f.Hello, m.Reply); err != nil {
		r.fault(m.Reply, &ingest.Fault{Reason: "agent_id", Text: err.Error()})
		return
	}
	w := r.n.Welcome(f.Hello.Owner())
	w.Chain = wire.MaxChain
	if !r.mayGreet() { // what the welcome says was so before
		return
	}
	for frame := range wire.WelcomeFrames(w, int(r.n.Conn.MaxPayload())-64) {
		r.reply(m.Reply, frame)
	}
	r.n.Log.Debug("agent greeted over NATS", "agent", f.Hello.Owner(), "run", f.Hello.Run, "software", f.Hello.Software)
}

// claim ends the agent's older session and enters a new one, whose answers go to a subject.
func (r *responder) claim(hello *wire.Hello, answers string) (*remoteAgent, error) {
	a := &remoteAgent{entered: make(chan struct{}), answers: answers, heard: time.Now()}
	ctx, cancel := context.WithTimeout(r.n.life.Appending, 10*time.Second)
	defer cancel()
	claim := func() (*ingest.Claim, error) {
		return r.n.Sessions.Claim(ctx, *hello, address, func(reason string) { r.evict(a, reason) })
	}
	session, err := claim()
	if err != nil && r.vacated(ctx, hello.Owner()) {
		session, err = claim()
	}
	if err != nil {
		return nil, err
	}
	r.setSession(a, session)
	return a, nil
}

// setSession enters an agent that has claimed its id.
func (r *responder) setSession(a *remoteAgent, session *ingest.Claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.session = session
	r.present[session.Hello.Owner()] = a
	close(a.entered)
}

// vacated ends the session of an owner if its process is gone, which it is when no client
// listens for its answers. It reports whether the session has ended.
func (r *responder) vacated(ctx context.Context, owner string) bool {
	r.mu.Lock()
	a := r.present[owner]
	r.mu.Unlock()
	if a == nil {
		return false
	}
	// A live agent ignores a pong, so only ErrNoResponders proves that it is gone.
	asked, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := r.n.Conn.RequestWithContext(asked, a.answers, wire.AppendPing(nil, wire.KindPong, 0))
	if !errors.Is(err, nats.ErrNoResponders) {
		return false
	}
	r.mu.Lock()
	r.removeLocked(a, nil)
	r.mu.Unlock()
	select {
	case <-a.session.Done():
		return true
	case <-ctx.Done():
		return false
	}
}

// evict ends a session because the agent came again. It does not wait, except for the hello
// that has claimed the agent's id and is about to enter the session.
func (r *responder) evict(a *remoteAgent, reason string) {
	<-a.entered
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeLocked(a, wire.AppendFault(nil, reason, ingest.FaultPause))
}

// removeLocked ends an agent's session, with a last message, once nothing of it is in flight.
func (r *responder) removeLocked(a *remoteAgent, last []byte) {
	if a.gone {
		return
	}
	a.gone = true
	if owner := a.session.Hello.Owner(); r.present[owner] == a {
		delete(r.present, owner)
	}
	go func() { // ends with the last Append
		a.inFlight.Wait()
		r.n.Sessions.Release(a.session)
		if last != nil {
			r.reply(a.answers, last)
		}
	}()
}

func (r *responder) removeSilent(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.present {
		if now.Sub(a.heard) > r.n.Agents.Timeout {
			r.removeLocked(a, nil)
		}
	}
}

// ask handles a batch or a ping of an agent that sent a hello.
func (r *responder) ask(m *nats.Msg, agent string, turn *ingest.Turn) {
	d, f, fault := r.n.openMessage(m.Data, agent, turn)
	if fault != nil {
		r.fault(m.Reply, fault)
		return
	}
	a := r.enter(&f.Hello)
	if a == nil && r.n.partition() != nil { // it was greeted by an earlier owner
		a = r.greet(&f.Hello, m.Reply)
	}
	if a == nil {
		const text = "send a hello first: the session has ended, or the collector was restarted"
		r.reply(m.Reply, wire.AppendFault(nil, text, 0))
		return
	}
	defer a.inFlight.Done()
	a.session.Frames.Add(1)
	switch err := d.Next(&f); {
	case errors.Is(err, errNoBudget):
		answer := wire.Answer{Kind: wire.KindLater, Stream: f.Batch.Stream, Reason: err.Error()}
		turn.Decided()
		r.reply(m.Reply, wire.AppendAnswer(nil, answer))
	case err != nil:
		r.fault(m.Reply, protocolFault("%v", err))
	case f.Kind == wire.KindPing:
		r.reply(m.Reply, wire.AppendPing(nil, wire.KindPong, f.N))
	case f.Kind == wire.KindDrain: // the agent stops
		r.mu.Lock()
		r.removeLocked(a, nil)
		r.mu.Unlock()
	case isOfStream(f.Kind) && r.n.partition() != nil:
		r.n.freeText(f.Batch.Text)
		r.fault(m.Reply, protocolFault(throughStream, r.n.Stream.Name))
	case isOfStream(f.Kind):
		outcome := r.n.offer(&f.Batch, &a.session.Hello, time.Now(), turn)
		turn.Decided()
		r.reply(m.Reply, wire.AppendAnswer(nil, wire.AnswerTo(f.Batch.Stream, outcome)))
	default:
		r.n.freeText(f.Batch.Text)
		r.fault(m.Reply, protocolFault("an agent may not send a frame of kind %d here", f.Kind))
	}
}

// enter returns the session that a message belongs to, with the message in flight; nil: there
// is none.
func (r *responder) enter(h *wire.Hello) *remoteAgent {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.present[h.Owner()]
	if a == nil || a.gone || a.session.Hello.Instance != h.Instance || a.session.Hello.Run != h.Run {
		return nil
	}
	a.heard = time.Now()
	a.inFlight.Add(1)
	return a
}
