package wire

// Encoding is how the text of a batch is compressed on its way. Each batch names its own.
type Encoding uint8

// The encodings. A collector that does not announce S2, see About, reads only the others.
const (
	Plain Encoding = 0
	Zstd  Encoding = 1 // one frame (RFC 8878) that announces its length
	S2    Encoding = 4 // one block of S2, Snappy's format with more kinds of copies; it begins with its length
)

// encodingJoined is a bit beside those of Encoding: see AppendRecord.
const encodingJoined = 2

// Encodings are those that this release reads and that a welcome must announce.
const Encodings = S2

func (e Encoding) known() bool { return e == Plain || e == Zstd || e == S2 }

// String is the name that status and metrics show.
func (e Encoding) String() string {
	switch e {
	case Zstd:
		return "zstd"
	case S2:
		return "s2"
	}
	return "none"
}

// Packing says how the text of a batch is still compressed; its zero value: it is not.
type Packing struct {
	Encoding Encoding
	Length   int // of the text
	labels   int // bytes of labels for which the text's block pays, too
}

// Size is the length of the block for the text.
func (p *Packing) Size() int { return p.Length + p.labels }
