package decode

import (
	"bytes"

	"fanin/internal/wire"
)

// CRI is the decoder of the files that container runtimes write for the kubelet. A record
// is a line:
//
//	2016-10-06T00:17:09.669794202Z stdout P the beginning of a line
//	2016-10-06T00:17:09.669794203Z stdout F , and its end
//
// Behind the time and the stream is a list of tags, separated by colons, of which the first
// says whether the line goes on in the stream's next record (P) or ends (F). The kubelet reads
// it in the same way (pkg/kubelet/kuberuntime/logs, parseCRILog). Runtimes divide long lines
// into records of 16 KiB. A line has the time of its first record.
type CRI struct{}

// Scale is 2: the text is beside the raw bytes.
func (CRI) Scale() int { return 2 }

// Window returns the second half of a block; the first one is for the text.
func (CRI) Window(block []byte) []byte { return block[len(block)/2:] }

// LineStart returns the last place that is inside no line of a stream.
func (CRI) LineStart(raw []byte, offset int64) int { return lineStart(criRecords{}, raw, offset) }

// Decode yields whole lines.
func (CRI) Decode(in Input) Lines { return join(criRecords{}, in) }

// criRecords are the records of CRI.
type criRecords struct{}

func (criRecords) read(c *clock, record []byte, _ bool) entry {
	raw := entry{text: record, stream: noStream, unfit: true}
	t, n := c.read(record)
	if n == 0 || len(record) < n+len(" stdout F") || string(record[n:n+4]) != " std" {
		return raw
	}
	e := entry{time: t}
	switch string(record[n+4 : n+8]) {
	case "out ":
	case "err ":
		e.stream = 1
	default:
		return raw
	}
	n += len(" stdout ")
	switch record[n] {
	case 'F':
	case 'P':
		e.open = true
	default:
		return raw
	}
	switch n++; {
	case n == len(record): // an empty line of a writer that ends no tags
	case record[n] == ' ':
		n++
	case record[n] == ':':
		end := bytes.IndexByte(record[n:], ' ') + 1
		if end == 0 {
			return raw
		}
		n += end
	default:
		return raw
	}
	e.at, e.text = n, record[n:]
	return e
}

func (r criRecords) rest(c *clock, begin, rest []byte, _ bool) entry {
	e := entry{stream: noStream}
	if begin != nil {
		e = r.read(c, begin, false)
	}
	e.at, e.text = 0, rest
	return e
}

func (criRecords) append(dst, text []byte, _ bool) []byte { return append(dst, text...) }

func (criRecords) appendPart(dst, text []byte, limit int, _ bool) ([]byte, int) {
	n := len(text)
	if n > limit {
		n = wire.CutLine(text, limit)
	}
	return append(dst, text[:n]...), n
}
