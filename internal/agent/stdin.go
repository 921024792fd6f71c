package agent

import (
	"context"
	"io"
	"time"
)

// stdin is standard input, or what is read in its place. A read that waits can be given
// up: the process that writes need not end when this one does.
type stdin struct {
	stop   context.Context // when it has ended, so does the input, once it is silent
	end    context.Context // when it has ended, the input does, too
	blocks chan []byte     // unbuffered: one block is read ahead
	free   chan []byte
	err    error         // of the last read; valid when blocks is closed
	gone   chan struct{} // closed when no block is taken any more

	block, rest []byte // the block that is given out, and what is left of it
	over        bool   // no block is awaited any more
}

const (
	// stdinBlock is what a pipe holds by default. What was read and is not spooled is lost
	// with the process, so no more is read at a time.
	stdinBlock = 64 << 10
	// lastWords is how long the input must be silent to end it after a signal: a shell sends
	// the signal to all processes of a pipeline, and the one that writes may have more to say.
	lastWords = time.Second
)

// newStdin reads in on a goroutine, which ends with in, at the first read after the end, or
// with the process.
func newStdin(in io.Reader, stop, end context.Context) *stdin {
	s := &stdin{stop: stop, end: end, blocks: make(chan []byte), free: make(chan []byte, 2),
		gone: make(chan struct{})}
	for range cap(s.free) {
		s.free <- make([]byte, stdinBlock)
	}
	go s.readAhead(in)
	return s
}

func (s *stdin) readAhead(in io.Reader) {
	defer close(s.blocks)
	for block := range s.free {
		n, err := in.Read(block[:stdinBlock])
		if n == 0 {
			s.free <- block
		} else {
			select {
			case s.blocks <- block[:n]:
			case <-s.gone:
				return
			}
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

// Read implements io.Reader.
func (s *stdin) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.block != nil {
			s.free <- s.block
			s.block = nil
		}
		block, err := s.next()
		if err != nil {
			return 0, err
		}
		s.block, s.rest = block, block
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next returns the next block, or why there is none.
func (s *stdin) next() ([]byte, error) {
	var silent <-chan time.Time
	stop := s.stop.Done()
	for !s.over {
		select {
		case block, ok := <-s.blocks:
			return s.taken(block, ok)
		case <-stop:
			stop, silent = nil, time.After(lastWords)
			continue
		case <-silent:
		case <-s.end.Done():
			s.over = true
		}
		select {
		case block, ok := <-s.blocks: // it was read before
			return s.taken(block, ok)
		default:
			s.over = true
		}
	}
	close(s.gone)
	return nil, io.EOF
}

func (s *stdin) taken(block []byte, ok bool) ([]byte, error) {
	if !ok {
		return nil, s.err
	}
	return block, nil
}
