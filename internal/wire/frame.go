package wire

import (
	"errors"
	"fmt"
	"strings"
)

// Version is the protocol's version, which the hello contains. Version 1 had batches
// without marks and a welcome without a description of the log; its batches may still
// be in a JetStream stream, and are read there.
const Version = 2

// Magic opens every connection of an agent: a MessagePack array of seven whose
// first element is the string "fanin". No line of text in UTF-8 begins so,
// which is how one port serves agents and plain lines.
const Magic = "\x97\xa5fanin"

// A frame is one MessagePack array; frames follow each other without anything
// between. The first element is the kind (but "fanin" in the hello, see Magic).
// Integers are of any MessagePack width, ids are bin of 16 bytes, text is bin.
//
//	agent -> collector
//	  hello   ["fanin", version, agent, instance id, run, host, software]
//	          agent is the agent's id, or ID/SESSION for a session beside the agent's own one.
//	          A collector of a release without such sessions refuses that as an id. The session
//	          RelaySession is that of a relay, which releases without relays refuse likewise
//	  batch   [1, stream, epoch, offset, end, before, after, time, cuts, marks, encoding, raw length, text]
//	          cuts = [[text, end, after], ...]; encoding 0 plain, 1 zstd, 4 S2, within MaxExpansion,
//	          and 2 more where the lines are written as AppendRecord does; text is last, so that
//	          memory for it can be reserved before it is read.
//	          marks = [[text, host, source, time], ...]: labels of the lines from that byte of the
//	          text on. A name is nil if it is that of the mark before, and "" if it is the batch's
//	          own; time is nil or in microseconds since 1970 (UTC). A fifth element are Attributes, if
//	          they are not those of the mark before. At most MaxMarks; raw length and
//	          Batch.LabelBytes together are at most MaxText
//	  open    [2, stream, epoch, base, tail, source, identity]
//	  skip    [3, stream, epoch, from, to, before, after, reason]
//	  end     [4, stream, epoch, offset, tail]
//	  ping    [5, n]
//	  lossy   [6, agent, host, source, stream, epoch, offset, end, first line, time, text]
//	          alone in a UDP datagram, never answered, and without marks
//	collector -> agent
//	  welcome [16, version, log id, incarnation, number of streams, about]
//	          about = {"boot": text, "files": [[device, inode, offset, tail], ...],
//	          "encodings": bits, "chain": n, "way": [known, log id, ...]}; other keys are skipped.
//	          encodings are those of batches that the collector reads besides 0 and 1; without the
//	          key there are none. Without chain it is 1. way is Way
//	  streams [17, [[stream, epoch, offset, tail, trail, source, identity], ...]]
//	          trail = [[offset, tail], ...]; pages of at most 512 streams each follow the
//	          welcome
//	  ack     [18, stream]           the batch, open, skip or end is committed
//	  nack    [19, stream, known, epoch, offset, tail, trail]
//	  refuse  [20, stream, reason]   never send this again
//	  later   [21, stream, reason]   not known whether it was committed: send it again
//	  fault   [22, reason, seconds]  the connection ends here; reconnect after that time
//	  pong    [23, n]
//	  drain   [24]                   the collector shuts down: finish and reconnect
//
// For one stream an agent has at most as many unanswered frames as the welcome's chain
// says. They are a chain: each begins where the one before it ends, and is compared with
// the stream's position only when the outcome of that one is known. Answers to frames of
// one stream arrive in the order of the frames, which is how an agent tells them apart;
// answers to different streams arrive in any order. An older agent has one unanswered
// frame at a time.
type Kind uint8

// The kinds of frames. Hello has no number on the wire.
const (
	KindHello Kind = 0
	KindBatch Kind = 1
	KindOpen  Kind = 2
	KindSkip  Kind = 3
	KindEnd   Kind = 4
	KindPing  Kind = 5
	KindLossy Kind = 6

	KindWelcome Kind = 16
	KindStreams Kind = 17
	KindAck     Kind = 18
	KindNack    Kind = 19
	KindRefuse  Kind = 20
	KindLater   Kind = 21
	KindFault   Kind = 22
	KindPong    Kind = 23
	KindDrain   Kind = 24
)

// Frame is a frame as it was read. Which fields are set follows from its kind:
//
//	hello: Hello · batch, open, skip, end, lossy: Batch, and Packing · ping, pong: N
//	welcome: Welcome without its streams, N of which follow · streams: Streams
//	ack, nack, refuse, later: Answer · fault: Reason, and N seconds
type Frame struct {
	Kind    Kind
	Hello   Hello
	Batch   Batch
	Packing Packing // of Batch.Text; zero but after a Decoder with Defer
	Welcome Welcome
	Streams []StreamState
	Answer  Answer
	Reason  string
	N       int64
}

// Hello is an agent's introduction.
type Hello struct {
	Version  int
	Agent    string   // the agent's id
	Session  string   // the name of a session beside the agent's own one, which has no name
	Instance StreamID // random, kept in the session's state: distinguishes a cloned machine from a restart
	Run      int64    // grows with each start of the same instance; the highest run wins
	Host     string   // the host that the lines name
	Software string   // for people to read
}

// Owner is the name that owns the session's streams: the agent's id, or ID/SESSION. So
// each session is welcomed with its own streams, and cannot touch those of another.
func (h *Hello) Owner() string {
	if h.Session == "" {
		return h.Agent
	}
	return h.Agent + "/" + h.Session
}

// RelaySession is the name of a relay's session. No agent can have it: an agent's names are of
// letters, digits, '.', '_' and '-'.
const RelaySession = "~relay"

// RelaySource is the source of a relay's streams, in lists of streams. Its lines have their own.
const RelaySource = "relay"

// IsRelay reports whether the hello is a relay's, which forwards the log of another collector.
func (h *Hello) IsRelay() bool { return h.Session == RelaySession }

// setOwner is the reverse of Owner. A name that Owner does not make becomes an id, which
// no collector accepts.
func (h *Hello) setOwner(owner string) {
	if agent, session, ok := strings.Cut(owner, "/"); ok && session != "" {
		h.Agent, h.Session = agent, session
		return
	}
	h.Agent = owner
}

// AgentID is the agent's id in the name of an owner of streams, see Hello.Owner.
func AgentID(owner string) string {
	id, _, _ := strings.Cut(owner, "/")
	return id
}

// Answer is the collector's answer to one frame of one stream.
type Answer struct {
	Kind     Kind // ack, nack, refuse, later
	Stream   StreamID
	Expected Expected // nack
	Reason   string   // refuse, later
}

// AnswerTo is the answer for err, the outcome of appending to stream.
func AnswerTo(stream StreamID, err error) Answer {
	if err == nil {
		return Answer{Kind: KindAck, Stream: stream} // allocates nothing
	}
	a := Answer{Kind: KindLater, Stream: stream}
	var expected *Expected
	var refused *Refused
	switch {
	case errors.As(err, &expected):
		a.Kind, a.Expected = KindNack, *expected
	case errors.As(err, &refused):
		a.Kind, a.Reason = KindRefuse, refused.Reason
	case errors.Is(err, ErrRefused):
		a.Kind, a.Reason = KindRefuse, err.Error()
	default:
		a.Reason = err.Error()
	}
	if len(a.Reason) > MaxName {
		a.Reason = a.Reason[:MaxName]
	}
	return a
}

// Err is the outcome in an answer, the reverse of AnswerTo.
func (a Answer) Err() error {
	switch a.Kind {
	case KindAck:
		return nil
	case KindNack:
		e := a.Expected
		return &e
	case KindRefuse:
		return &Refused{a.Reason}
	}
	return fmt.Errorf("the collector does not know whether it kept the batch: %s", a.Reason)
}
