package ship

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"fanin/internal/wire"
)

// leastSqueezed is the length from which compressing a text is worth it.
const leastSqueezed = 1 << 10

// squeezer compresses texts; any number of sessions may share it.
type squeezer struct {
	encoder *zstd.Encoder
	blocks  sync.Pool // of *[]byte
}

func newSqueezer() (*squeezer, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("prepare compression: %w", err)
	}
	return &squeezer{encoder: e, blocks: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// pack compresses text into a block that free takes back, nil where that does not
// pay, or would expand beyond what the collector takes. The frame says how long the
// text is, which the collector insists on.
func (s *squeezer) pack(text []byte) *[]byte {
	if s == nil || len(text) < leastSqueezed {
		return nil
	}
	b := s.blocks.Get().(*[]byte)
	*b = s.encoder.EncodeAll(text, (*b)[:0])
	if len(*b) >= len(text) || wire.Expands(len(*b), text) {
		s.free(b)
		return nil
	}
	return b
}

func (s *squeezer) free(b *[]byte) { s.blocks.Put(b) }
