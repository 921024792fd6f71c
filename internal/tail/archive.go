package tail

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"fanin/internal/tail/decode"
	"fanin/internal/unpack"
	"fanin/internal/wire"
)

// archive is the text of a compressed file, which is read as if it were a file with that
// text. It is unpacked as it is read, and never stored: what was read last is kept in a ring,
// so that a batch can be read again, and reading further back begins anew.
type archive struct {
	file   *descriptor
	format unpack.Format

	work atomic.Int64 // bytes of text that were unpacked, for whatever purpose

	mu     sync.Mutex
	head   []byte // the first bytes of the text
	known  bool   // all of it was read once
	size   int64  // of the text, if it is known
	sum    [sha256.Size]byte
	damage error // why nothing behind size can be read
	whole  fileVersion

	reading sync.Mutex     // guards what follows; it is held for long
	reader  *unpack.Reader // nil: none is open
	at      int64          // how much of the text it has read
	ring    []byte         // the last bytes before at
}

// fileVersion tells whether a compressed file was changed since it was first read.
type fileVersion struct {
	size, modified int64
}

// errRepacked ends the follower of an archive; the next look finds what is there now.
var errRepacked = &unfit{"it was changed while it was sent"}

// newArchive reads the first bytes of the text.
func newArchive(x *descriptor, format unpack.Format) (*archive, error) {
	a := &archive{file: x, format: format, head: make([]byte, headSize)}
	var err error
	if a.whole, err = a.version(); err != nil {
		return nil, err
	}
	r, err := a.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	n, err := io.ReadFull(r, a.head)
	a.head = a.head[:n]
	return a, fileErrorOf(err)
}

// fileErrorOf returns err if it is one of the file: neither the end of the text nor damage.
func fileErrorOf(err error) error {
	if damage := new(unpack.Damage); err == io.EOF || err == io.ErrUnexpectedEOF || errors.As(err, &damage) {
		return nil
	}
	return err
}

func (a *archive) version() (v fileVersion, err error) {
	fi, err := a.file.statRaw()
	if err != nil {
		return v, err
	}
	return fileVersion{fi.Size(), fi.ModTime().UnixNano()}, nil
}

func (a *archive) open() (*unpack.Reader, error) {
	return unpack.NewReader(io.NewSectionReader(readRaw{a.file}, 0, a.whole.size), a.format)
}

// readRaw reads the compressed bytes.
type readRaw struct{ x *descriptor }

func (r readRaw) ReadAt(b []byte, offset int64) (int, error) { return r.x.readRaw(b, offset) }

// unpackedBlock is how much is read at a time to learn what an archive contains.
const unpackedBlock = 64 << 10

// scan reads the whole text once: to learn its length and its hash, by which it is
// recognized, and where it is damaged. Of a damaged text only whole lines count.
func (a *archive) scan(ctx context.Context, decoder decode.Decoder) error {
	r, err := a.open()
	if err != nil {
		return err
	}
	defer r.Close()
	all := textSum{sum: sha256.New()}
	whole := all // up to the last place where a line begins
	block := make([]byte, unpackedBlock)
	for err == nil && ctx.Err() == nil {
		var n int
		n, err = io.ReadFull(r, block)
		a.work.Add(int64(n))
		line := max(0, decoder.LineStart(block[:n], all.size))
		all.add(block[:line])
		if line > 0 {
			var cerr error
			if whole, cerr = all.clone(); cerr != nil {
				return cerr
			}
		}
		all.add(block[line:n])
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := fileErrorOf(err); err != nil {
		return &fileError{err}
	}
	damage := new(unpack.Damage)
	isDamaged := errors.As(err, &damage)
	if isDamaged && !damage.Whole {
		all = whole
	}
	if now, err := a.version(); err != nil || now != a.whole {
		return errRepacked
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.size, a.head = true, all.size, a.head[:min(int64(len(a.head)), all.size)]
	all.sum.Sum(a.sum[:0])
	if isDamaged {
		a.damage = damage
	}
	return nil
}

// textSum is the hash of a text.
type textSum struct {
	sum  hash.Hash
	size int64
}

func (s *textSum) add(text []byte) {
	s.sum.Write(text)
	s.size += int64(len(text))
}

func (s *textSum) clone() (textSum, error) {
	c, ok := s.sum.(hash.Cloner)
	if !ok {
		return textSum{}, errors.New("this build's SHA-256 cannot be copied")
	}
	sum, err := c.Clone()
	return textSum{sum, s.size}, err
}

// stream is the id of the stream of this text: the same for each archive with the same text,
// whatever it is called and however it is packed.
func (a *archive) stream() wire.StreamID {
	a.mu.Lock()
	defer a.mu.Unlock()
	sum := sha256.Sum256(append([]byte("fanin archive 1\n"), a.sum[:]...))
	return wire.StreamID(sum[:len(wire.StreamID{})])
}

// isKnown reports whether the whole text was read once.
func (a *archive) isKnown() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known
}

// damaged returns why the text cannot be read to its end; nil if it can, or may be.
func (a *archive) damaged() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.damage
}

// info describes the file with the size of its text. Before that is known, it is that of the
// first bytes.
func (a *archive) info(fi fs.FileInfo) fs.FileInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known {
		return textInfo{fi, int64(len(a.head))}
	}
	return textInfo{fi, a.size}
}

// textInfo is a file with another size.
type textInfo struct {
	fs.FileInfo
	size int64
}

// Size is that of the text.
func (i textInfo) Size() int64 { return i.size }

// ReadAt reads the text.
func (a *archive) ReadAt(b []byte, offset int64) (int, error) {
	a.mu.Lock()
	head, known, size := a.head, a.known, a.size
	a.mu.Unlock()
	if end := offset + int64(len(b)); end <= int64(len(head)) || !known {
		n := copy(b, head[min(offset, int64(len(head))):])
		return n, shortRead(n, len(b))
	}
	want := int(max(0, min(int64(len(b)), size-offset)))
	a.reading.Lock()
	defer a.reading.Unlock()
	if err := a.seek(offset, want); err != nil {
		return 0, err
	}
	for done := 0; done < want; {
		done += copy(b[done:want], a.ring[(offset+int64(done))%int64(len(a.ring)):])
	}
	return want, shortRead(want, len(b))
}

func shortRead(n, want int) error {
	if n < want {
		return io.EOF
	}
	return nil
}

// seek reads on until the ring has n bytes at offset.
func (a *archive) seek(offset int64, n int) error {
	if least := 3*n + 2*decode.Reach; len(a.ring) < least {
		a.closeReader()
		a.ring = make([]byte, least)
	}
	if a.reader == nil || offset < a.at-int64(len(a.ring)) {
		a.closeReader()
		now, err := a.version()
		if err == nil && now != a.whole {
			err = errRepacked
		}
		if err == nil {
			a.reader, err = a.open()
		}
		if err != nil {
			return err
		}
	}
	for a.at < offset+int64(n) {
		from := a.at % int64(len(a.ring))
		got, err := a.reader.Read(a.ring[from:min(int64(len(a.ring)), from+offset+int64(n)-a.at)])
		a.work.Add(int64(got))
		if a.at += int64(got); got == 0 && err != nil { // it had this text before
			a.closeReader()
			if damage := new(unpack.Damage); err == io.EOF || errors.As(err, &damage) {
				err = errRepacked
			}
			return err
		}
	}
	return nil
}

func (a *archive) closeReader() {
	if a.reader != nil {
		a.reader.Close()
	}
	a.reader, a.at = nil, 0
}

// release frees the memory.
func (a *archive) release() {
	a.reading.Lock()
	defer a.reading.Unlock()
	a.closeReader()
	a.ring = nil
}
