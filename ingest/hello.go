package ingest

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"fanin/internal/wire"
)

// FaultPause is the number of seconds after which a refused agent may come back.
const FaultPause = 5

// Fault is an error that ends an agent's session and is sent to the agent. Its reason
// is one of a few, for counting.
type Fault struct {
	Reason string
	Text   string
}

// Error implements error.
func (f *Fault) Error() string { return f.Text }

// CheckHello checks what every input requires of an agent's hello. Batches in a
// JetStream stream may be older than the collector: least is the lowest protocol
// version that is accepted.
func CheckHello(h wire.Hello, least int) *Fault {
	switch {
	case h.Version < least || h.Version > wire.Version:
		return &Fault{"version", fmt.Sprintf("the agent speaks protocol version %d, this collector version %d: "+
			"install the same release on both", h.Version, wire.Version)}
	case !ValidID(h.Agent):
		return &Fault{"agent_id", fmt.Sprintf("agent id %q: want 1 to 128 of A-Z a-z 0-9 . _ - and not %q",
			h.Agent, wire.SourceNotice)}
	case h.Session != "" && !h.IsRelay() && (!ValidID(h.Session) || len(h.Session) > maxSessionName):
		return &Fault{"agent_id", fmt.Sprintf("session %q of agent %q: want at most %d of A-Z a-z 0-9 . _ -",
			h.Session, h.Agent, maxSessionName)}
	}
	return nil
}

// maxSessionName keeps the names of owners within wire.MaxName.
const maxSessionName = 64

// ValidID reports whether id may be an agent's.
func ValidID(id string) bool {
	for _, b := range []byte(id) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '_', b == '-':
		default:
			return false
		}
	}
	return 1 <= len(id) && len(id) <= 128 && id != wire.SourceNotice
}

// NewUnpacker returns a decoder of compressed texts that many sessions may share. It
// decodes two texts at a time, and none to more bytes than a frame may hold.
func NewUnpacker() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(wire.MaxText))
}
