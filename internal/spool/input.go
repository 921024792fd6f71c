package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"fanin/internal/lines"
	"fanin/internal/wire"
)

// Input spools the lines of a reader. Lines longer than MaxLine are divided, so memory is
// bounded. A reader that waits can be given up.
type Input struct {
	s       *Spool
	source  string
	n       atomic.Int64
	waiting atomic.Int64 // since when the reader waits, in nanoseconds since 1970; 0: it does not

	mu    sync.Mutex // of what follows, but for what block has behind held
	block []byte
	held  int    // bytes in block that begin a line
	part  []byte // of a line that is too long
	split bool   // a part of the held line was appended
	ended bool
}

// readSize is what a pipe holds on Linux, by default. What was read and is not spooled is lost
// with the process, so no more is read at a time.
const readSize = 64 << 10

// NewInput makes an input whose lines have a source, "" for the spool's own.
func (s *Spool) NewInput(source string) *Input {
	return &Input{s: s, source: source, block: make([]byte, 2*readSize)}
}

// Read spools all lines that r gives, until its end or until the input was ended.
func (in *Input) Read(ctx context.Context, r io.Reader) error {
	for {
		in.waiting.Store(time.Now().UnixNano())
		got, rerr := r.Read(in.block[in.held:min(in.held+readSize, len(in.block))])
		in.waiting.Store(0)
		if ended, err := in.add(ctx, got); ended {
			return err
		}
		if rerr == io.EOF {
			return in.End(ctx)
		}
		if rerr != nil {
			return errors.Join(rerr, in.End(ctx))
		}
	}
}

// Bytes is how many bytes were read.
func (in *Input) Bytes() int64 { return in.n.Load() }

// Silent is for how long the reader has given nothing; 0 while it does.
func (in *Input) Silent() time.Duration {
	since := in.waiting.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// End ends the input: a last line without a newline is a line. What the reader gives later is
// dropped.
func (in *Input) End(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended || in.held == 0 {
		in.ended = true
		return nil
	}
	in.ended = true
	return in.append(ctx, append(in.block[:in.held:in.held], '\n'))
}

// add adds got more bytes, unless the input has ended. An error ends it.
func (in *Input) add(ctx context.Context, got int) (ended bool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.ended {
		in.n.Add(int64(got))
		err = in.take(ctx, got)
		in.ended = err != nil
	}
	return in.ended, err
}

// take appends what is complete with got more bytes.
func (in *Input) take(ctx context.Context, got int) error {
	have := in.block[:in.held+got]
	end := bytes.LastIndexByte(have[in.held:], '\n') + 1
	if end > 0 {
		end += in.held
		if err := in.append(ctx, have[:end]); err != nil {
			return err
		}
		in.split = false
	}
	in.held = copy(in.block, have[end:])
	if in.held < len(in.block) {
		return nil
	}
	if len(in.block) < in.s.MaxLine {
		in.block = append(make([]byte, 0, min(2*in.held, in.s.MaxLine)), in.block...)
		in.block = in.block[:cap(in.block)]
		return nil
	}
	n := wire.CutLine(in.block, lines.PartLimit(in.s.MaxLine))
	in.part = append(in.begin(), in.block[:n]...)
	in.part = append(append(in.part, wire.SplitMark...), '\n')
	if err := in.s.Append(ctx, in.part, in.source); err != nil {
		return err
	}
	in.split = true
	in.held = copy(in.block, in.block[n:])
	return nil
}

// begin returns the beginning of the next part.
func (in *Input) begin() []byte {
	if in.split {
		return append(in.part[:0], wire.SplitGoesOn...)
	}
	return in.part[:0]
}

// append appends whole lines; the first one may be the last part of a longer one.
func (in *Input) append(ctx context.Context, text []byte) error {
	if in.split {
		end := bytes.IndexByte(text, '\n') + 1
		in.part = append(in.begin(), text[:end]...)
		if err := in.s.Append(ctx, in.part, in.source); err != nil {
			return err
		}
		text = text[end:]
	}
	return in.s.Append(ctx, text, in.source)
}
