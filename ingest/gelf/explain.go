package gelf

import (
	"io"

	"fanin/internal/wire"
)

// Messages reads from r what a connection would bring, and calls found with the line of each
// message, as Scanner.Scan makes it. p needs no Out.
func (p *Protocol) Messages(r io.Reader, from *Origin, found func(line []byte, labels wire.Labels) error) error {
	p.Format()
	x := &explainer{scanner: p.Settings.New(), from: from, found: found}
	b, have := make([]byte, p.Settings.MaxMessage), 0
	for {
		n, err := r.Read(b[have:])
		have += n
		if err != nil && err != io.EOF {
			return err
		}
		used, ferr := x.whole(b[:have])
		if last := b[used:have]; ferr == nil && (err == io.EOF || len(last) == len(b)) {
			used, ferr = used+len(last), x.last(last) // or the message is too large
		}
		if ferr != nil || err == io.EOF {
			return ferr
		}
		have = copy(b, b[used:have])
	}
}

// explainer calls found with the lines of messages.
type explainer struct {
	scanner *Scanner
	framer  framer
	from    *Origin
	found   func(line []byte, labels wire.Labels) error
}

// whole takes the messages whose ends are in b, and returns how many bytes they have.
func (x *explainer) whole(b []byte) (used int, err error) {
	for err == nil {
		length, size, ok := x.framer.next(b[used:])
		if !ok {
			return used, nil
		}
		err = x.message(b[used : used+length])
		used += size
	}
	return used, err
}

// last takes what is left at the end of a connection.
func (x *explainer) last(b []byte) error {
	if x.framer.settle(b) {
		used, err := x.whole(b)
		if err != nil {
			return err
		}
		b = b[used:]
	}
	x.framer.at = 0
	return x.message(b)
}

func (x *explainer) message(b []byte) error {
	for b = trimStart(b); len(b) > 0; {
		line, labels, rest := x.scanner.Scan(nil, b, x.from)
		if err := x.found(line, labels); err != nil {
			return err
		}
		b = rest
	}
	return nil
}
