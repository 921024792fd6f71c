package key

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Sender is the peer that sent a request: what it proved, and where it is.
type Sender struct {
	Certificate string // the name in its certificate
	Login       string
	Address     string // without a port
}

// name is how the log counts the sender's keys. It has a colon, which no agent's id
// has, or is empty: then the address counts.
func (s *Sender) name() string {
	switch {
	case s.Certificate != "":
		return "certificate:" + s.Certificate
	case s.Login != "":
		return "login:" + s.Login
	}
	return ""
}

// Request is what a sender sent under one key. Its records are the lines of all
// batches, in their order. A repeat must have the same lines under the same key;
// labels may differ.
type Request struct {
	Kind   string // of key, such as the protocol: keys of two kinds never meet
	Key    []byte
	Sender Sender

	// Hashed: the sender gave no key, and Key is a hash of the content.
	// Equal content of two senders is then not the same request, nor is equal content
	// after a short time.
	Hashed bool

	// PerContent: the same key with other content is another request.
	// Without it Append returns wire.ErrOtherContent.
	PerContent bool

	Made    time.Time    // when the sender made the key; zero if not known
	Batches []wire.Batch // with input, labels, time, marks and text; Append does the rest
}

// id is the stream of r. content is the hash of all its records.
func (r *Request) id(content wire.Hash) wire.StreamID {
	kind, parts := r.Kind, [][]byte{r.Key}
	if r.Hashed {
		name := r.Sender.name()
		if name == "" {
			name = r.Sender.Address
		}
		kind, parts = kind+" hash", append(parts, []byte(name))
	}
	if r.PerContent {
		var b [8]byte
		for i := range b {
			b[i] = byte(content >> (8 * i))
		}
		kind, parts = kind+" content", append(parts, b[:])
	}
	return wire.KeyID(kind, parts...)
}

// batches returns the batches of r with all fields set, and the hash of all records.
func (r *Request) batches() (list []wire.Batch, content wire.Hash) {
	sum := newSummer()
	for _, b := range r.Batches {
		b.Op, b.Kind, b.Epoch = wire.OpData, wire.StreamKey, 0
		b.Agent, b.Address = r.Sender.name(), r.Sender.Address
		b.Offset, b.Before = sum.records, sum.hash()
		b.Cuts = nil
		at := 0
		for chunk := range lines.Chunks(b.Text) {
			sum.add(chunk)
			if at += len(chunk); at < len(b.Text) {
				b.Cuts = append(b.Cuts, wire.Cut{Text: at, End: sum.records, After: sum.hash()})
			}
		}
		b.End, b.After = sum.records, sum.hash()
		list = append(list, b)
	}
	content = sum.hash()
	k := &wire.Key{Content: content, Hashed: r.Hashed}
	if !r.Made.IsZero() {
		k.Made = r.Made.UnixMicro()
	}
	id := r.id(content)
	for i := range list {
		list[i].Stream, list[i].Key = id, k
	}
	return list, content
}

// divide has a batch of list end at a record. It returns false if the records
// before that one do not have this hash.
func divide(list []wire.Batch, record int64, tail wire.Hash) ([]wire.Batch, bool) {
	sum := newSummer()
	for i := range list {
		b := &list[i]
		if record >= b.End {
			sum.add(b.Text)
			continue
		}
		at := 0
		for range record - b.Offset {
			at += bytes.IndexByte(b.Text[at:], '\n') + 1
		}
		if sum.add(b.Text[:at]); sum.hash() != tail {
			return list, false
		}
		if at == 0 {
			return list, true
		}
		before := 0
		for before < len(b.Cuts) && b.Cuts[before].Text < at {
			before++
		}
		with := *b
		with.Cuts = append([]wire.Cut(nil), b.Cuts[:before]...)
		with.Cuts = append(with.Cuts, wire.Cut{Text: at, End: record, After: tail})
		for _, c := range b.Cuts[before:] {
			if c.Text > at {
				with.Cuts = append(with.Cuts, c)
			}
		}
		head, rest := with.Divide(before)
		divided := append(append([]wire.Batch(nil), list[:i]...), head, rest)
		return append(divided, list[i+1:]...), true
	}
	return list, false
}

// summer hashes records one after the other.
type summer struct {
	sum     hash.Hash
	records int64
}

func newSummer() *summer { return &summer{sum: sha256.New()} }

func (s *summer) add(text []byte) {
	s.sum.Write(text)
	s.records += int64(lines.Count(text))
}

// hash is that at the record which follows.
func (s *summer) hash() wire.Hash {
	if s.records == 0 {
		return 0
	}
	return wire.RecordHash(s.sum.Sum(nil))
}
