package archive

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// inflater decompresses deflated text (RFC 1951) of which all is in memory, into memory of the
// right size. That is faster than a reader that may stop at every byte: bits are taken from a
// register of 64, and text that repeats is copied within the result itself. What it makes is
// trusted only if the checksum of the member matches.
type inflater struct {
	lengths   [maxSymbols + maxDistances]uint8 // of codes
	symbols   [1<<symbolBits + maxLong]uint32
	distances [1<<distanceBits + maxLong]uint32
	codes     [1 << codeBits]uint32

	in   []byte
	at   int    // of the next byte that is not in bits
	bits uint64 // not taken yet, the next one lowest
	n    uint   // how many of them count
}

const (
	maxSymbols   = 288
	maxDistances = 32
	symbolBits   = 11 // of the first table; longer codes have tables of their own
	distanceBits = 9
	codeBits     = 7
	maxLong      = 4096 // entries of tables for longer codes
)

// An entry of a table:
//
//	bits 0 to 7    how many bits the code has; in the first table, of one that leads to another
//	               table: all of its own
//	bits 8 to 15   how many bits follow the code; of one that leads on: the bits of the other table
//	bits 16 to 29  a byte, a length, a distance, or where the other table begins; for a distance
//	               it is the number of the code
//	bits 30, 31    what it is
const (
	isLiteral = 0 << 30
	isCopy    = 1 << 30
	isEnd     = 2 << 30
	isLong    = 3 << 30
	kind      = 3 << 30
	value     = 1<<14 - 1
)

var errDeflate = errors.New("deflated text is damaged")

// lengthBase and lengthExtra are of the codes 257 to 285, distanceBase and distanceExtra of 0 to 29.
var (
	lengthBase = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115,
		131, 163, 195, 227, 258}
	lengthExtra  = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase = [32]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
		2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12,
		13, 13}
	codeOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

// inflate fills text with what in decompresses to, and returns how many bytes of in that took.
// An error: it is damaged, or does not have exactly that many bytes.
func (f *inflater) inflate(text, in []byte) (int, error) {
	f.in, f.at, f.bits, f.n = in, 0, 0, 0
	done := 0
	for last := false; !last; {
		f.fill()
		last = f.take(1) == 1
		var err error
		switch f.take(2) {
		case 0:
			done, err = f.stored(text, done)
		case 1:
			f.fixed()
			done, err = f.block(text, done)
		case 2:
			if err = f.dynamic(); err == nil {
				done, err = f.block(text, done)
			}
		default:
			err = errDeflate
		}
		if err != nil {
			return 0, err
		}
	}
	used := f.at - int(f.n/8)
	if done != len(text) || used > len(in) {
		return 0, errDeflate
	}
	return used, nil
}

// fill makes at least 56 bits count. Behind the end of in there are zeros.
func (f *inflater) fill() {
	if f.at+8 <= len(f.in) {
		f.bits |= binary.LittleEndian.Uint64(f.in[f.at:]) << (f.n & 63)
		taken := (63 - f.n) >> 3
		f.at += int(taken)
		f.n += taken * 8
		return
	}
	for ; f.n <= 55; f.n += 8 {
		if f.at < len(f.in) {
			f.bits |= uint64(f.in[f.at]) << f.n
		}
		f.at++
	}
}

func (f *inflater) take(n uint) uint {
	v := uint(f.bits & (1<<n - 1))
	f.bits >>= n
	f.n -= n
	return v
}

// stored copies a block that is not compressed.
func (f *inflater) stored(text []byte, done int) (int, error) {
	f.at -= int(f.n / 8)
	f.bits, f.n = 0, 0
	if f.at+4 > len(f.in) {
		return 0, errDeflate
	}
	n := int(binary.LittleEndian.Uint16(f.in[f.at:]))
	if n != int(^binary.LittleEndian.Uint16(f.in[f.at+2:])) || f.at+4+n > len(f.in) || done+n > len(text) {
		return 0, errDeflate
	}
	f.at += 4
	copy(text[done:], f.in[f.at:f.at+n])
	f.at += n
	return done + n, nil
}

// fixed sets the tables that need not be described.
func (f *inflater) fixed() {
	l := f.lengths[:maxSymbols+maxDistances]
	for i := range l {
		switch {
		case i < 144, i >= 280 && i < maxSymbols:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 5
		}
	}
	f.tables(maxSymbols, maxDistances)
}

// tables makes both tables of a block from the lengths of its codes.
func (f *inflater) tables(symbols, distances int) error {
	if !build(f.symbols[:], symbolBits, f.lengths[:symbols], symbolEntry) {
		return errDeflate
	}
	if !build(f.distances[:], distanceBits, f.lengths[symbols:symbols+distances], distanceEntry) {
		return errDeflate
	}
	return nil
}

func symbolEntry(symbol int) uint32 {
	switch {
	case symbol < 256:
		return isLiteral | uint32(symbol)<<16
	case symbol == 256:
		return isEnd
	case symbol-257 < len(lengthBase):
		return isCopy | uint32(lengthBase[symbol-257])<<16 | uint32(lengthExtra[symbol-257])<<8
	}
	return isLong // no symbol: it leads to a table that has no bits
}

func distanceEntry(symbol int) uint32 {
	if symbol < len(distanceExtra) {
		return isCopy | uint32(symbol)<<16 | uint32(distanceExtra[symbol])<<8
	}
	return isLong
}

func codeEntry(symbol int) uint32 { return isLiteral | uint32(symbol)<<16 }

// dynamic reads the tables of a block.
func (f *inflater) dynamic() error {
	f.fill()
	symbols, distances, codes := int(f.take(5))+257, int(f.take(5))+1, int(f.take(4))+4
	var lengths [19]uint8
	for _, code := range codeOrder[:codes] {
		f.fill()
		lengths[code] = uint8(f.take(3))
	}
	if symbols > maxSymbols-2 || !build(f.codes[:], codeBits, lengths[:], codeEntry) {
		return errDeflate
	}
	for i := 0; i < symbols+distances; {
		f.fill()
		e := f.codes[f.bits&(1<<codeBits-1)]
		if e == 0 {
			return errDeflate
		}
		f.take(uint(e & 0xff))
		length, again := uint8(e>>16), 1
		switch {
		case length < 16:
		case length == 16 && i == 0:
			return errDeflate
		case length == 16:
			length, again = f.lengths[i-1], 3+int(f.take(2))
		case length == 17:
			length, again = 0, 3+int(f.take(3))
		default:
			length, again = 0, 11+int(f.take(7))
		}
		if i+again > symbols+distances {
			return errDeflate
		}
		for range again {
			f.lengths[i] = length
			i++
		}
	}
	return f.tables(symbols, distances)
}

// build makes a table of canonical codes (RFC 1951, 3.2.2) from their lengths. Its first part is
// indexed by the next bits; codes that are longer lead to tables behind it. False: the lengths are
// of no codes, or too many of them are long.
func build(table []uint32, first uint, lengths []uint8, entry func(symbol int) uint32) bool {
	var count, next [16]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	code := 0
	for n := 1; n < 16; n++ {
		code = (code + count[n-1]) << 1
		next[n] = code
		if code+count[n] > 1<<n {
			return false
		}
	}
	clear(table[:1<<first])
	free := 1 << first
	for symbol, length := range lengths {
		n := uint(length)
		if n == 0 {
			continue
		}
		reversed := uint(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		e := entry(symbol)
		if n <= first {
			for i := reversed; i < 1<<first; i += 1 << n {
				table[i] = e | uint32(n)
			}
			continue
		}
		lead := &table[reversed&(1<<first-1)]
		if *lead == 0 {
			more := 15 - first
			if free+1<<more > len(table) {
				return false
			}
			clear(table[free : free+1<<more])
			*lead = isLong | uint32(free)<<16 | uint32(more)<<8 | uint32(first)
			free += 1 << more
		}
		base := int(*lead >> 16 & value)
		for i := reversed >> first; i < 1<<(15-first); i += 1 << (n - first) {
			table[base+int(i)] = e | uint32(n-first)
		}
	}
	return true
}

// block decompresses a block behind the done bytes of text. What it works with is in local
// variables, which the processor keeps in registers.
func (f *inflater) block(text []byte, done int) (int, error) {
	in, at, bits, n := f.in, f.at, f.bits, f.n
	for {
		if n < 48 { // the most that a copy may take: 15 + 5 + 15 + 13
			if at+8 <= len(in) {
				bits |= binary.LittleEndian.Uint64(in[at:]) << (n & 63)
				at += int((63 - n) >> 3)
				n |= 56
			} else {
				f.at, f.bits, f.n = at, bits, n
				f.fill()
				at, bits, n = f.at, f.bits, f.n
			}
		}
		e := f.symbols[bits&(1<<symbolBits-1)]
		if e&kind == isLong {
			e = long(f.symbols[:], e, bits)
		}
		bits, n = bits>>(e&63), n-uint(e&63)
		if e&kind == isLiteral && e != 0 && done < len(text) {
			text[done] = byte(e >> 16)
			done++
			continue
		}
		if e&kind != isCopy {
			f.at, f.bits, f.n = at, bits, n
			return done, f.ended(e)
		}
		extra := uint(e >> 8 & 63)
		length := int(e>>16&value) + int(bits&(1<<extra-1))
		bits, n = bits>>extra, n-extra
		d := f.distances[bits&(1<<distanceBits-1)]
		if d&kind == isLong {
			d = long(f.distances[:], d, bits)
		}
		bits, n = bits>>(d&63), n-uint(d&63)
		extra = uint(d >> 8 & 63)
		distance := int(distanceBase[d>>16&31]) + int(bits&(1<<extra-1))
		bits, n = bits>>extra, n-extra
		if d&kind != isCopy || distance > done || length > len(text)-done {
			return 0, errDeflate
		}
		repeat(text, done, distance, length)
		done += length
	}
}

// long returns the entry of a code that is longer than the first table's, with all of its bits; of
// an entry that is no code, itself.
func long(table []uint32, e uint32, bits uint64) uint32 {
	first, more := uint(e&63), uint(e>>8&63)
	if more == 0 {
		return e
	}
	found := table[uint64(e>>16&value)+bits>>first&(1<<more-1)]
	if found == 0 {
		return 0
	}
	return found + uint32(first)
}

// ended returns why a block ended: nil at its end.
func (f *inflater) ended(e uint32) error {
	if e&kind != isEnd || f.at-int(f.n/8) > len(f.in) {
		return errDeflate
	}
	return nil
}

// repeat copies length bytes from distance bytes before done.
func repeat(text []byte, done, distance, length int) {
	from := done - distance
	if distance >= 8 && length <= 40 && done+length+8 <= len(text) { // what is too much is overwritten later
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(text[done+i:], binary.LittleEndian.Uint64(text[from+i:]))
		}
		return
	}
	for length > 0 { // what was copied is there to be copied again
		n := copy(text[done:done+length], text[from:done])
		done, length = done+n, length-n
	}
}
