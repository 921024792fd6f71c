package ship

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"fanin/internal/wire"
)

// minCompressed is the length from which compressing a text pays.
const minCompressed = 1 << 10

// compressor compresses texts. Any number of sessions may share it.
type compressor struct {
	encoder *zstd.Encoder
	blocks  sync.Pool // of *[]byte
}

func newCompressor() (*compressor, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("prepare compression: %w", err)
	}
	return &compressor{encoder: e, blocks: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// pack compresses text into a block that must be freed. It returns nil where that does not
// pay, where the text would expand beyond what the collector accepts, and if c is nil. The
// frame has the length of the text, and the collector checks it.
func (c *compressor) pack(text []byte) *[]byte {
	if c == nil || len(text) < minCompressed {
		return nil
	}
	b := c.blocks.Get().(*[]byte)
	*b = c.encoder.EncodeAll(text, (*b)[:0])
	if len(*b) >= len(text) || wire.Expands(len(*b), text) {
		c.free(b)
		return nil
	}
	return b
}

func (c *compressor) free(b *[]byte) { c.blocks.Put(b) }
