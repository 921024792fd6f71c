package sink

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"

	"fanin/sink/archive"
)

// fileText is the text of a file of the log, from its beginning to its end. It is read some blocks
// ahead of where it is used; plain text and the members of archives on several cores at a time. One
// goroutine at a time may use it; it must be closed.
type fileText struct {
	file   io.Closer
	blocks *inOrder[textBlock]
	given  int        // blocks
	held   *textBlock // what next returned last
	ended  bool       // nothing follows
	cancel context.CancelFunc
}

// textBlock is a part of a text.
type textBlock struct {
	index int    // counted from the beginning
	buf   []byte // is used again
	text  []byte
	last  bool  // nothing follows
	err   error // in place of text
}

// plainBlock is how many bytes of a file that is not compressed are read at a time. The blocks that are
// read ahead fit into a processor's cache.
const plainBlock = 256 << 10

// readText reads a file. fill returns a function of its own for each of so many workers, which
// reads the block of its index.
func readText(ctx context.Context, file io.Closer, workers int, fill func() func(b *textBlock)) *fileText {
	t := &fileText{file: file}
	ctx, t.cancel = context.WithCancel(ctx)
	room := 2 * workers
	t.blocks = newInOrder(room, workers, func() func(*textBlock) {
		read := fill()
		return func(b *textBlock) {
			b.text, b.last, b.err = nil, false, ctx.Err()
			if b.err == nil {
				read(b)
			}
		}
	})
	for range room {
		t.dispatch(new(textBlock))
	}
	return t
}

func (t *fileText) dispatch(b *textBlock) {
	b.index = t.given
	t.given++
	t.blocks.give(b)
}

// next returns the next part of the text, nothing at its end. It is valid until the next call.
func (t *fileText) next(ctx context.Context) ([]byte, error) {
	if t.held != nil {
		t.dispatch(t.held)
		t.held = nil
	}
	if t.ended {
		return nil, nil
	}
	b, err := t.blocks.take(ctx)
	if err != nil {
		return nil, err
	}
	t.ended = b.last || b.err != nil
	if !t.ended {
		t.held = b
	}
	return b.text, b.err
}

// Close ends what reads ahead, and closes the file.
func (t *fileText) Close() error {
	t.cancel()
	t.blocks.stop()
	return t.file.Close()
}

// plainText reads a file as it is.
func plainText(ctx context.Context, f *os.File) *fileText {
	return readText(ctx, f, runtime.GOMAXPROCS(0), func() func(*textBlock) {
		return func(b *textBlock) {
			b.buf = slices.Grow(b.buf[:0], plainBlock)[:plainBlock]
			n, err := f.ReadAt(b.buf, int64(b.index)*plainBlock)
			b.text, b.last = b.buf[:n], n < plainBlock
			if err != io.EOF {
				b.err = err
			}
		}
	})
}

// archivedText reads an archive: by its members, or one without a table from its beginning.
func archivedText(ctx context.Context, path string) (*fileText, error) {
	a, err := archive.OpenMembers(nil, path)
	if err != nil {
		return nil, err
	}
	if a.Members() == 0 {
		return streamedText(ctx, a)
	}
	return readText(ctx, a, runtime.GOMAXPROCS(0), func() func(*textBlock) {
		var d archive.Decoder
		return func(b *textBlock) {
			if b.last = b.index >= a.Members(); b.last {
				return
			}
			b.text, b.err = d.Decode(a, b.index, b.buf)
			b.buf = b.text
		}
	}), nil
}

// streamedText reads an archive without a table. One that is cut off ends there.
func streamedText(ctx context.Context, a *archive.Reader) (*fileText, error) {
	text, err := a.Text()
	if err != nil {
		a.Close()
		return nil, err
	}
	return streamText(ctx, a, text), nil
}

// streamText reads a text that can be read only from its beginning.
func streamText(ctx context.Context, file io.Closer, text io.Reader) *fileText {
	return readText(ctx, file, 1, func() func(*textBlock) {
		return func(b *textBlock) {
			b.buf = slices.Grow(b.buf[:0], plainBlock)[:plainBlock]
			n, err := io.ReadFull(text, b.buf)
			b.text = b.buf[:n]
			b.last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			if !b.last {
				b.err = err
			}
		}
	})
}
