package natsconn

import (
	"strings"

	"fanin/internal/wire"
)

// Subjects names where agent and collector meet on a NATS server: all subjects begin
// with its value, the PREFIX. Each message is a hello and, behind it, at most one more
// frame, so that each can be understood alone. Answers are frames, too.
//
//	PREFIX.agent.AGENT       agent -> collector: hello. The answer is a welcome and its streams
//	                         frames, one to a message, and later a fault or a drain
//	PREFIX.log.LOG.AGENT     agent -> the log that welcomed it: hello and batch, open, skip, end or
//	                         ping, or drain: it stops. The answer is that of a connection, or a fault:
//	                         greet again
//	PREFIX.batch.AGENT       agent -> JetStream: hello and batch, open, skip or end. The header
//	                         Fanin-Answer names where below PREFIX.answer.AGENT the answer goes
//	PREFIX.answer.AGENT.>    collector -> agent: all answers
//	PREFIX.who               anyone -> every collector: whose log is it? The answer is a welcome
//	                         without streams
//
// AGENT is the agent's id with '/' for '.', so that it is one token: a server
// that lets a user publish to fanin.*.web-1 alone vouches for the id.
type Subjects string

// HeaderAnswer is the header of a JetStream message that names where the answer goes.
const HeaderAnswer = "Fanin-Answer"

// Pushed begins the last token of an answer's subject when the agent does not wait for
// the answer, and of no other: the agent relies on the JetStream stream.
const Pushed = "p"

// token makes one token of an agent's id.
func token(agent string) string { return strings.ReplaceAll(agent, ".", "/") }

// Hello is where an agent greets collectors.
func (p Subjects) Hello(agent string) string { return string(p) + ".agent." + token(agent) }

// Log is where an agent sends to the log that welcomed it.
func (p Subjects) Log(log wire.StreamID, agent string) string {
	return string(p) + ".log." + log.String() + "." + token(agent)
}

// Batch is where an agent publishes into a JetStream stream.
func (p Subjects) Batch(agent string) string { return string(p) + ".batch." + token(agent) }

// Who returns the subject on which agents ask collectors for their log.
func (p Subjects) Who() string { return string(p) + ".who" }

// Answer is where answers to an agent go; where is the agent's own choice of tokens.
func (p Subjects) Answer(agent, where string) string {
	return string(p) + ".answer." + token(agent) + "." + where
}

// Answers is the common beginning of the subjects of all answers.
func (p Subjects) Answers() string { return string(p) + ".answer." }

// AllHellos is the wildcard of Hello.
func (p Subjects) AllHellos() string { return string(p) + ".agent.*" }

// AllOfLog is the wildcard of Log for one log.
func (p Subjects) AllOfLog(log wire.StreamID) string {
	return string(p) + ".log." + log.String() + ".*"
}

// AllBatches is the wildcard of Batch.
func (p Subjects) AllBatches() string { return string(p) + ".batch.*" }

// IsBatch reports whether subject is one of AllBatches.
func (p Subjects) IsBatch(subject string) bool {
	return strings.HasPrefix(subject, string(p)+".batch.") && p != ""
}

// AgentOf is the id of the agent that a subject names in its last token.
func AgentOf(subject string) string {
	return strings.ReplaceAll(subject[strings.LastIndexByte(subject, '.')+1:], "/", ".")
}

// Overlap reports whether some subject matches both patterns: "*" is any one token, ">"
// all tokens that follow, of which there must be one. A subject is a pattern, too.
func Overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; ; i++ {
		switch {
		case i < len(x) && x[i] == ">":
			return i < len(y)
		case i < len(y) && y[i] == ">":
			return i < len(x)
		case i == len(x) || i == len(y):
			return len(x) == len(y)
		case x[i] != y[i] && x[i] != "*" && y[i] != "*":
			return false
		}
	}
}
