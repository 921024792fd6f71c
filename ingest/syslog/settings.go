package syslog

import (
	"time"

	"fanin/ingest"
)

// Settings are how a listener understands its messages. The zero Settings have the defaults of
// the configuration.
type Settings struct {
	Source string // of lines without a program's name

	Any   bool // a message without <PRI> is one of syslog, too; else it is a line as it is
	Local bool // from a unix socket: headers have no host

	TrustHost  bool           // the host is the header's, where it has one
	SenderTime bool           // lines show the time of the header
	Zone       *time.Location // of times without a zone; nil: these are not taken
	KeepPRI    bool           // <PRI> stays before the text
	JSON       bool           // the log has attributes: what fits no label is there, and not in the text
	Raw        bool           // the log shows no labels: a message is the line as it is

	NameBytes int // of names that a scanner remembers; default 8 KiB, and a socket of many senders needs more

	Gaps    *Gaps           // counts missing messages; nil: they are not counted
	Metrics *ingest.Metrics // counts times that are not taken; nil: its own
}

// Origin is what is known of a message besides its bytes.
type Origin struct {
	Host string    // of the peer, as lines show it
	PID  int       // of the process that sent it, as the kernel says; 0: not known
	Now  time.Time // when it was read
}
