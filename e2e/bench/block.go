package main

import (
	"bytes"
	"math/rand/v2"
)

// Lines are "@SS.NNNNNNNN padding", 46 to 328 bytes: whose, which, and text that
// has no '@', so that a checker finds the line behind whatever a layout puts before it.
const (
	least    = 46
	most     = 328
	headSize = len("@00.00000000 ")
)

const blockSize = 256 << 10

var padding = bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog "), 8)

// block is about 256 KiB of one source's lines. The same block is sent again and
// again; only the numbers in it move on, which costs the sender nearly nothing.
type block struct {
	text  []byte
	ends  []int // where each line ends
	heads []int // how many bytes of a protocol each begins with; nil: none has any
	tail  int   // how many bytes of a protocol each has behind its text
	next  int   // number of the first line
}

func newBlock(source int) *block {
	r := rand.New(rand.NewPCG(1, 1)) // the same lengths for all
	return makeBlock(source, func() int { return least + r.IntN(most-least+1) })
}

// messageSize is the length of a ZeroMQ message, which becomes a line.
const messageSize = 100

// newMessages is a block of lines that all have the same length.
func newMessages() *block {
	return makeBlock(0, func() int { return messageSize })
}

func makeBlock(source int, next func() int) *block { return makeHeaded(source, next, nil, "") }

// makeHeaded is makeBlock with what a protocol has before each line, and behind it; nil: nothing.
func makeHeaded(source int, next func() int, head func(i int) string, tail string) *block {
	b := &block{text: make([]byte, 0, blockSize), tail: len(tail)}
	for {
		before, length := "", next()
		if head != nil {
			before = head(len(b.ends))
			b.heads = append(b.heads, len(before))
		}
		if len(b.text)+len(before)+length+len(tail)+1 > blockSize {
			break
		}
		b.text = append(b.text, before...)
		b.text = append(b.text, '@', byte('0'+source/10), byte('0'+source%10), '.')
		b.text = append(b.text, "00000000 "...)
		b.text = append(b.text, padding[:length-headSize]...)
		b.text = append(b.text, tail...)
		b.text = append(b.text, '\n')
		b.ends = append(b.ends, len(b.text))
	}
	b.number()
	return b
}

// number writes the lines' numbers into the text.
func (b *block) number() {
	at, n := 0, b.next
	for line, end := range b.ends {
		at += b.head(line)
		for i, v := at+11, n; i > at+3; i-- {
			b.text[i] = byte('0' + v%10)
			v /= 10
		}
		at = end
		n++
	}
}

// head is how many bytes of a protocol line i begins with.
func (b *block) head(i int) int {
	if b.heads == nil {
		return 0
	}
	return b.heads[i]
}

// take returns the text of the next lines, at most n of them.
func (b *block) take(n int) (text []byte, lines int) {
	if b.next > 0 {
		b.number()
	}
	lines = min(n, len(b.ends))
	b.next += lines
	return b.text[:b.ends[lines-1]], lines
}

// line is what line n of any source has behind its head.
func (b *block) line(n int) []byte {
	i := n % len(b.ends)
	begin := 0
	if i > 0 {
		begin = b.ends[i-1]
	}
	return b.text[begin+b.head(i)+headSize : b.ends[i]-1-b.tail]
}

// size is how many bytes the first n lines have.
func (b *block) size(n int) int64 {
	size := int64(n/len(b.ends)) * int64(len(b.text))
	if rest := n % len(b.ends); rest > 0 {
		size += int64(b.ends[rest-1])
	}
	return size
}
