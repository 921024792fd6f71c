package natsconn

import (
	"regexp"
	"strings"

	"fanin/internal/wire"
)

// Subjects names where agent and collector meet on a NATS server. Each message
// is a hello and, behind it, at most one more frame, so that each can be
// understood alone. Answers are frames, too.
//
//	PREFIX.agent.AGENT       agent -> collector: hello. The answer is a welcome and its streams
//	                         frames, one to a message, and later a fault or a drain
//	PREFIX.log.LOG.AGENT     agent -> the log that welcomed it: hello and batch, open, skip, end
//	                         or ping, or drain: it goes down. The answer is that of a connection, or a fault: greet again
//	PREFIX.batch.AGENT       agent -> JetStream: hello and batch, open, skip or end. The header
//	                         Fanin-Answer says where under PREFIX.answer.AGENT the answer goes
//	PREFIX.answer.AGENT.>    collector -> agent: all answers
//	PREFIX.who               anybody -> every collector: whose log is it? The answer is a welcome without streams
//
// AGENT is the agent's id with '/' for '.', so that it is one token: a server
// that lets a user publish to fanin.*.web-1 alone vouches for the id.
type Subjects string

// HeaderAnswer is the header of a JetStream message that says where the answer goes.
const HeaderAnswer = "Fanin-Answer"

func token(agent string) string { return strings.ReplaceAll(agent, ".", "/") }

func (p Subjects) Hello(agent string) string { return string(p) + ".agent." + token(agent) }

func (p Subjects) Log(log wire.StreamID, agent string) string {
	return string(p) + ".log." + log.String() + "." + token(agent)
}

func (p Subjects) Batch(agent string) string { return string(p) + ".batch." + token(agent) }

func (p Subjects) Who() string { return string(p) + ".who" }

// Answer is where answers to an agent go; where is its own choice of tokens.
func (p Subjects) Answer(agent, where string) string {
	return string(p) + ".answer." + token(agent) + "." + where
}

// Answers is what the subjects of all answers begin with.
func (p Subjects) Answers() string { return string(p) + ".answer." }

// Pushed begins the last token of an answer's subject when the answer is not waited for,
// and of no other: the agent believes the JetStream stream.
const Pushed = "p"

// The wildcards that a collector subscribes to.

func (p Subjects) AllHellos() string { return string(p) + ".agent.*" }
func (p Subjects) AllOfLog(log wire.StreamID) string {
	return string(p) + ".log." + log.String() + ".*"
}
func (p Subjects) AllBatches() string { return string(p) + ".batch.*" }

// IsBatch reports whether subject is one of AllBatches.
func (p Subjects) IsBatch(subject string) bool {
	return strings.HasPrefix(subject, string(p)+".batch.") && p != ""
}

// AgentOf is the id of the agent that a subject names in its last token.
func AgentOf(subject string) string {
	return strings.ReplaceAll(subject[strings.LastIndexByte(subject, '.')+1:], "/", ".")
}

var forbidden = regexp.MustCompile(`Permissions Violation for (Publish|Subscription) to "([^"]*)"`)

// Forbidden reads a NATS server's word about what it does not allow: to publish to a
// subject, or to subscribe to it.
func Forbidden(err error) (subject string, publish, ok bool) {
	m := forbidden.FindStringSubmatch(err.Error())
	if m == nil {
		return "", false, false
	}
	return m[2], m[1] == "Publish", true
}
