// Package gelf takes messages in the Graylog Extended Log Format: over connections, where
// each ends with a NUL or a newline, and in datagrams, where each is plain, compressed, or
// in chunks.
//
//	Datagrams.handle -- chunks.add      collects the chunks of a message, in bounded memory
//	      |         '-- unpacker        zlib and gzip, bounded
//	      |
//	      +-- Scanner.Scan              labels and text of one message
//	      |
//	Protocol.serve -- conn <- framer    finds the ends of messages
//
// The format has no acknowledgement and no numbers. What was taken is written once; what is
// dropped is counted, and reported in the log. docs/gelf.md has a table of all fields and of
// where each goes.
package gelf

import (
	"cmp"
	"time"

	"fanin/ingest"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Settings are how a listener understands its messages. Zero fields have the defaults named.
type Settings struct {
	Source     string // of lines whose message names no container, no facility and no program; default "gelf"
	MaxMessage int    // bytes of a message, unpacked; default 1 MiB, from 1 KiB to 1 MiB
	MaxLine    int    // longer lines are split; default wire.MaxLine, at least 256 bytes

	TrustHost  bool // the host is the one that the message names
	SenderTime bool // lines show the time that the message has
	KeepFields bool // other fields are in the text, if the log has no attributes
	JSON       bool // the log has attributes: other fields are there, and not in the text

	Metrics *ingest.Metrics // counts what is not taken as it came; nil: its own
}

// MaxMessage is the largest that Settings.MaxMessage may be: every byte of a message may
// take two of a batch's text.
const MaxMessage = wire.MaxText / 4

// prepare fills in the defaults.
func (s *Settings) prepare() {
	s.Source = cmp.Or(s.Source, "gelf")
	s.MaxMessage = min(max(cmp.Or(s.MaxMessage, MaxMessage), 1<<10), MaxMessage)
	s.MaxLine = max(cmp.Or(s.MaxLine, wire.MaxLine), lines.MinLimit)
	s.Metrics = cmp.Or(s.Metrics, new(ingest.Metrics))
}

// Origin is what is known of a message besides its bytes.
type Origin struct {
	Host string    // of the peer, as lines show it
	Now  time.Time // when it was read
}
