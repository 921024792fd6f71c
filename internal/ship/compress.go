package ship

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"fanin/internal/wire"
)

// minCompressed is the length from which compressing a text pays.
const minCompressed = 1 << 10

// compressor compresses texts. Any number of goroutines may share it.
type compressor struct {
	zstd   func() (*zstd.Encoder, error)
	blocks sync.Pool // of *[]byte
}

func newCompressor() *compressor {
	return &compressor{zstd: sync.OnceValues(newZstd), blocks: sync.Pool{New: func() any { return new([]byte) }}}
}

// newZstd returns an encoder, which needs some mebibytes once it is used.
func newZstd() (*zstd.Encoder, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("prepare compression: %w", err)
	}
	return e, nil
}

// pack compresses text into a block that must be freed. It returns nil where that does not
// pay, or where the text would expand beyond what the collector accepts. The frame has the
// length of the text, and the collector checks it.
func (c *compressor) pack(text []byte, e wire.Encoding) *[]byte {
	if e == wire.Plain || len(text) < minCompressed {
		return nil
	}
	b := c.compress(text, e)
	if b == nil {
		return nil
	}
	if len(*b) >= len(text) || wire.Expands(len(*b), text) {
		c.free(b)
		return nil
	}
	return b
}

// compress is pack wherever that pays or not; nil: there is no encoder.
func (c *compressor) compress(text []byte, e wire.Encoding) *[]byte {
	b := c.blocks.Get().(*[]byte)
	if e == wire.S2 {
		*b = s2.Encode((*b)[:0], text)
		return b
	}
	z, err := c.zstd()
	if err != nil {
		return nil
	}
	*b = z.EncodeAll(text, (*b)[:0])
	return b
}

func (c *compressor) free(b *[]byte) { c.blocks.Put(b) }
