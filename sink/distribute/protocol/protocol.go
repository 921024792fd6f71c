// Package protocol is the protocol between the work distributor and its workers, over TCP
// or TLS: MessagePack arrays, one after the other, whose first element is a string.
// docs/workers.md describes it for authors of workers.
//
//	worker -> collector
//	  ["fanin-work", 1, {options}]           once, first; the options are Hello's
//	  ["ack", n]                             all lines of delivery n are done
//	  ["ack", n, from, to]                   lines from to to-1 of it, counted from 0
//	  ["nack", n, from, to, reason]          they failed: an attempt is counted
//	  ["release", n, from, to]               they were not tried: none is counted
//	  ["touch", n]                           still being worked on: its lease starts again, and
//	                                         those of later deliveries, which wait for it
//	  ["credit", lines]                      may have so many lines unanswered from now on
//	collector -> worker
//	  ["welcome", 1, {options}]              the options are Welcome's
//	  ["lines", n, attempt, [[generation, offset, length], ...], text]
//	                                         a delivery: whole lines, and their places in the
//	                                         log; run after run of text, length bytes each
//	  ["accepted", n, from, to]              durable: these lines are never delivered again
//	  ["lost", n, from, to, reason]          they are no longer this worker's, and an answer
//	                                         to them does not count
//	  ["drain"]                              the collector is shutting down: answer what is left
//	  ["fault", reason]                      the connection ends here
//
// A collector that is a member of a cluster refuses version 1 with the reason ReasonCluster. With
// version 2, a worker names the partition whose lines it wants, or none: then the answer is where
// each partition's lines are handed out to its group.
//
//	worker -> collector
//	  ["fanin-work", 2, {options}]           as above, and "partition"
//	collector -> worker
//	  ["places", 2, {"cluster": name, "partitions": number,
//	                 "at": [[partition, address, reason], ...]}]
//	                                         an address of "" has a reason; the connection ends.
//	                                         Also if another collector has the partition by now
//	  ["welcome", 1, {options}]              as above, with "partition" and "epoch"
package protocol

import (
	"errors"
	"fmt"
	"time"
)

// Version is the protocol's version, as in the greetings.
const Version = 1

// VersionCluster is the version of the greeting of a worker that follows the partitions of a cluster.
const VersionCluster = 2

// ReasonCluster is why a member of a cluster refuses a worker that does not follow partitions.
const ReasonCluster = "this collector is a member of a cluster, whose partitions are handed out by several " +
	"collectors: it needs a worker that follows them (version 2 of the protocol)"

// Magic is the first element of a worker's greeting.
const Magic = "fanin-work"

// Bounds of what is accepted from the other side.
const (
	MaxString  = 1000     // bytes of a string, except a delivery's text
	MaxStrings = 16       // of each list in the options
	MaxText    = 64 << 20 // bytes of a delivery's text
	MaxRuns    = 1 << 20  // of a delivery
	MaxPlaces  = 1024     // of the partitions of a cluster
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
	KindPlaces   Kind = "places"
)

// Hello is the options of a worker's greeting. Only the group is required. Key and filter
// concern the whole group: they must be the same for all workers that it has at a time.
//
// A key is "host", "source", "host+source", or "log": all lines have the same key, so one
// worker has the whole log in order, one delivery at a time, and others stand by.
type Hello struct {
	Group   string        // "group": letters, digits, '.', '_', '-'
	Name    string        // "name": for messages and status; default: the worker's address
	From    string        // "from": where a new group begins: "end" (default), "start", a time, a duration, a position
	Credit  int           // "credit": lines it may have unanswered; default 1,000; 0 in a credit frame: a pause
	Weight  int           // "weight": its share of the lines beside others, 1 (default) to 100
	Lease   time.Duration // "lease": seconds that a delivery may take; default and bound: the collector's
	Batch   int           // "batch": most lines of a delivery; default: the credit
	Key     string        // "key": see below; lines of one key go to one worker, in order
	Host    []string      // "host", "source": names with wildcards; one must match
	Source  []string
	Include []string // "include", "exclude": regular expressions; all, and none, must match
	Exclude []string
	Token   string // "token": proves that it may have the role of a worker, see docs/access.md

	Cluster   bool   // the greeting is of VersionCluster
	Partition string // "partition": the number of the one whose lines it wants; "": it asks for the places of all
}

// Welcome is the options of the collector's answer.
type Welcome struct {
	Log      string        // "log": the log's id; positions are valid within one log
	Group    string        // "group"
	Position string        // "position": of the first line that is not finished
	Format   string        // "format": of the lines: "syslog", "json" or "raw"
	Credit   int           // "max_credit"
	Lease    time.Duration // "lease": seconds, granted
	Attempts int           // "attempts": of each line, before it becomes a dead letter

	Partition string // "partition": of a cluster; "": the log is of none
	Epoch     uint64 // "epoch": of the tenure whose lines come; positions are valid within it
}

// Places are where the partitions of a cluster are handed out to one group.
type Places struct {
	Cluster    string
	Partitions int
	At         []Place
}

// Place is where one partition is.
type Place struct {
	Partition int
	Address   string // host:port; "": nowhere now
	Reason    string // why it is nowhere
}

// Run is a piece of the log within a delivery.
type Run struct {
	Generation uint64
	Offset     int64 // of its first line
	Length     int64 // bytes of text, newlines included
}

// Frame is any frame after the greeting. Its kind determines which fields are set.
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
	Places   Places  // places
}

// Error is how the other side violated the protocol.
type Error struct{ Reason string }

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

func errorf(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Broke reports whether err is a violation of the protocol by the other side.
func Broke(err error) bool {
	var e *Error
	return errors.As(err, &e)
}
