package ship

import (
	"math"
	"time"

	"fanin/internal/wire"
)

// encoder compresses the texts of a shipper as its choice says. Any number of goroutines may
// share it.
type encoder struct {
	*compressor
	*choice
	now func() time.Time
}

func newEncoder(setting string, local bool) *encoder {
	return &encoder{newCompressor(), newChoice(setting, local), time.Now}
}

// pack compresses a text into a block that must be freed; nil: the text is sent as it is.
func (e *encoder) pack(text []byte) (block *[]byte, encoding wire.Encoding) {
	encoding, due := e.choice.next(len(text))
	if due {
		part := text[:min(len(text), sampleSize)]
		e.choice.decide(func(all ...wire.Encoding) []sample { return e.samples(part, all) })
	}
	if block = e.compressor.pack(text, encoding); block == nil {
		encoding = wire.Plain
	}
	e.choice.count(encoding, len(text))
	return block, encoding
}

// sampleTries is how often a sample is compressed. The quickest time counts: another program may
// have had the processor in the others.
const sampleTries = 3

// samples compresses a text in each of the encodings.
func (e *encoder) samples(text []byte, encodings []wire.Encoding) (all []sample) {
	n := float64(len(text))
	for _, encoding := range encodings {
		s := sample{encoding, math.Inf(1), 1}
		for range sampleTries {
			begun := e.now()
			b := e.compress(text, encoding)
			if b == nil {
				break
			}
			s.seconds, s.left = min(s.seconds, e.now().Sub(begun).Seconds()/n), float64(len(*b))/n
			e.free(b)
		}
		all = append(all, s)
	}
	return all
}
