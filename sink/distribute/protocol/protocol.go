// Package protocol is what the work distributor and its workers say to each
// other, over TCP or TLS: MessagePack arrays, one after the other, whose first
// element is a string. docs/workers.md tells it to people who write workers.
//
//	worker -> collector
//	  ["fanin-work", 1, {options}]           once, at first; the options are Hello's
//	  ["ack", n]                             all lines of delivery n are done
//	  ["ack", n, from, to]                   lines from to to-1 of it, counted from 0
//	  ["nack", n, from, to, reason]          they cannot be done; try again elsewhere
//	  ["release", n, from, to]               they were not tried; it is nobody's fault
//	  ["touch", n]                           still at work on it: the lease begins anew
//	  ["credit", lines]                      may have so many lines unanswered from now on
//	collector -> worker
//	  ["welcome", 1, {options}]              the options are Welcome's
//	  ["lines", n, attempt, [[generation, offset, length], ...], text]
//	                                         a delivery: whole lines, and where they stand in
//	                                         the log; run after run of text, length bytes each
//	  ["accepted", n, from, to]              the answer is durable: these lines never come again
//	  ["lost", n, from, to, reason]          they are no longer this worker's, and an answer
//	                                         to them does not count
//	  ["drain"]                              the collector goes down: answer what you have
//	  ["fault", reason]                      the connection ends here
package protocol

import (
	"errors"
	"fmt"
	"time"
)

// Version is the protocol's version, said in the greetings.
const Version = 1

// Magic is the first element of a worker's greeting.
const Magic = "fanin-work"

// Bounds of what is taken from the other side.
const (
	MaxString  = 1000     // bytes of a string but a delivery's text
	MaxStrings = 16       // of each list in the options
	MaxText    = 64 << 20 // bytes of a delivery's text
	MaxRuns    = 1 << 20  // of a delivery
)

// Kind is the first element of a frame.
type Kind string

// The kinds of frames.
const (
	KindAck     Kind = "ack"
	KindNack    Kind = "nack"
	KindRelease Kind = "release"
	KindTouch   Kind = "touch"
	KindCredit  Kind = "credit"

	KindWelcome  Kind = "welcome"
	KindLines    Kind = "lines"
	KindAccepted Kind = "accepted"
	KindLost     Kind = "lost"
	KindDrain    Kind = "drain"
	KindFault    Kind = "fault"
)

// Hello is how a worker introduces itself. Only the group is needed. What
// concerns the group as a whole - key and filter - must be the same for all that
// work for it at a time.
type Hello struct {
	Group   string        // "group": letters, digits, '.', '_', '-'
	Name    string        // "name": for people to read; default: the worker's address
	From    string        // "from": where a group that is new begins: "end" (default), "start", a time, a time span ago, a position
	Credit  int           // "credit": lines it may have unanswered; default 1,000; 0 in a credit frame pauses
	Weight  int           // "weight": its share of the lines beside others, 1 (default) to 100
	Lease   time.Duration // "lease": seconds that a delivery may take; default and bound: the collector's
	Batch   int           // "batch": most lines of a delivery; default: the credit
	Key     string        // "key": "host", "source" or "host+source": lines of the same key go to the same worker, in order
	Host    []string      // "host", "source": names with wildcards; one must fit
	Source  []string
	Include []string // "include", "exclude": regular expressions; all, and none, must match
	Exclude []string
}

// Welcome is the collector's answer.
type Welcome struct {
	Log      string        // "log": the log's id; positions mean something within one log
	Group    string        // "group"
	Position string        // "position": the first line that is not yet done with
	Format   string        // "format": of the lines: "syslog", "json" or "raw"
	Credit   int           // "max_credit"
	Lease    time.Duration // "lease": seconds, granted
	Attempts int           // "attempts": that a line gets before it is put to the dead letters
}

// Run is a piece of the log within a delivery.
type Run struct {
	Generation uint64
	Offset     int64 // of its first line
	Length     int64 // bytes of text, newlines included
}

// Frame is any frame after the greeting. Which fields are set follows from its
// kind.
type Frame struct {
	Kind     Kind
	N        uint64 // ack, nack, release, touch, lines, accepted, lost
	From, To int    // ack, nack, release, accepted, lost; To < 0: all
	Credit   int64  // credit
	Attempt  int    // lines
	Runs     []Run
	Text     []byte
	Reason   string  // nack, lost, fault
	Welcome  Welcome // welcome
}

// Error says how the other side broke the protocol.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

func errorf(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Broke reports whether err is the other side's breach of the protocol.
func Broke(err error) bool {
	var e *Error
	return errors.As(err, &e)
}
