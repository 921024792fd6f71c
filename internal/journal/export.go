package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// parser reads the export format of the journal
// (https://systemd.io/JOURNAL_EXPORT_FORMATS/). An entry is a row of fields and ends with
// an empty line. A field is text in one line, or of any bytes behind their length:
//
//	NAME=value\n
//	NAME\n  length, 8 bytes, little endian  bytes  \n
//
// Values that are not wanted are passed over in any length. Those that are wanted are
// cut at maxMessage, and other fields than the message at maxOther.
type parser struct {
	r      *bufio.Reader
	wanted map[string]int // index by name
}

// Limits of what is held of an entry.
const (
	maxMessage = 8 << 20   // bytes of a message
	maxOther   = 4 << 10   // bytes of any other field
	maxFields  = 16        // values of one entry that are held, in times of the fields that are wanted
	maxName    = 64        // bytes of a field's name, as journald has it
	maxValue   = 1 << 30   // bytes of a value: journald allows 768 MiB
	keepText   = 256 << 10 // bytes of memory that are kept for the next entry
)

// errGarbage is matched by what is not in the export format.
var errGarbage = errors.New("journalctl printed something that is not in its export format")

func garbage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errGarbage, fmt.Sprintf(format, args...))
}

// newParser returns a parser that holds the values of some fields.
func newParser(r io.Reader, names []string) *parser {
	p := &parser{r: bufio.NewReaderSize(r, 64<<10), wanted: make(map[string]int, len(names))}
	for i, name := range names {
		p.wanted[name] = i
	}
	return p
}

// The names of the fields that journalctl itself adds to each entry.
var (
	nameCursor = []byte("__CURSOR")
	nameTime   = []byte("__REALTIME_TIMESTAMP")
)

// next reads the next entry into e. The error is io.EOF only between two entries.
func (p *parser) next(e *entry) error {
	e.reset()
	for fields := 0; ; fields++ {
		line, err := p.r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			err = nil
		case errors.Is(err, io.EOF) && len(line)+fields > 0:
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if len(line) == 1 && fields == 0 { // an empty line before the first entry
			fields--
			continue
		}
		if len(line) == 1 {
			return e.complete()
		}
		if err := p.field(e, line); err != nil {
			return err
		}
	}
}

// complete checks that an entry has what each one has.
func (e *entry) complete() error {
	switch {
	case e.number == 0:
		return garbage("an entry without a cursor")
	case e.time <= 0:
		return garbage("an entry without a time")
	}
	return nil
}

// field reads a field whose first bytes are line: all of it, or what fits into the buffer.
func (p *parser) field(e *entry, line []byte) error {
	at := bytes.IndexByte(line[:min(len(line), maxName+1)], '=')
	whole := line[len(line)-1] == '\n'
	if at < 0 && !whole || at == 0 || at < 0 && len(line) > maxName+1 {
		return garbage("%.60q", line)
	}
	name := line[:max(at, 0)]
	if at < 0 {
		name = line[:len(line)-1]
	}
	if !isName(name) {
		return garbage("%.60q is no name of a field", name)
	}
	switch {
	case at < 0:
		return p.binary(e, string(name))
	case bytes.Equal(name, nameCursor):
		id, number, err := parseCursor(bytes.TrimSuffix(line[at+1:], []byte{'\n'}))
		if err != nil {
			return garbage("%v", err)
		}
		e.id, e.number = id, number
	case bytes.Equal(name, nameTime):
		t, err := strconv.ParseInt(string(bytes.TrimSuffix(line[at+1:], []byte{'\n'})), 10, 64)
		if err != nil || t <= 0 {
			return garbage("the time %.60q", line)
		}
		e.time = t
	default:
		return p.value(e, name, line[at+1:])
	}
	if !whole {
		return garbage("%.60q", line)
	}
	return nil
}

// isName reports whether journald could have given this name to a field.
func isName(name []byte) bool {
	for _, c := range name {
		if c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(name) > 0
}

// holds adds a field to the entry, if it is wanted. It returns how many bytes of its
// value are held; -1: none, and that is no loss.
func (p *parser) holds(e *entry, name []byte) (limit int) {
	index, ok := p.wanted[string(name)]
	if !ok || len(e.fields) >= maxFields*len(p.wanted) || index == message && e.has(message) {
		return -1
	}
	e.fields = append(e.fields, field{index, len(e.text), len(e.text)})
	if index == message {
		return maxMessage
	}
	return maxOther
}

// value reads a value in text form, of which begin was read.
func (p *parser) value(e *entry, name, begin []byte) error {
	limit := p.holds(e, name)
	for {
		part, ended := bytes.CutSuffix(begin, []byte{'\n'})
		limit = e.add(part, limit)
		if ended {
			return nil
		}
		var err error
		if begin, err = p.r.ReadSlice('\n'); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return unexpected(err)
		}
	}
}

// add adds a part of the latest field's value, of which limit bytes may be held.
func (e *entry) add(part []byte, limit int) (left int) {
	if limit < 0 {
		return limit
	}
	n := min(len(part), limit)
	e.text = append(e.text, part[:n]...)
	e.fields[len(e.fields)-1].to = len(e.text)
	e.short = e.short || n < len(part)
	return limit - n
}

// binary reads a value in binary form.
func (p *parser) binary(e *entry, name string) error {
	var length [8]byte
	if _, err := io.ReadFull(p.r, length[:]); err != nil {
		return unexpected(err)
	}
	size := binary.LittleEndian.Uint64(length[:])
	if size > maxValue {
		return garbage("a value of %d bytes", size)
	}
	limit := p.holds(e, []byte(name))
	n := max(min(int(size), limit), 0)
	if n > 0 {
		from := len(e.text)
		e.text = slices.Grow(e.text, min(n, keepText)) // an announcement alone holds no memory
		for got := 0; got < n; {
			step := min(n-got, keepText)
			e.text = slices.Grow(e.text, step)[:from+got+step]
			if _, err := io.ReadFull(p.r, e.text[from+got:]); err != nil {
				return unexpected(err)
			}
			got += step
		}
		e.fields[len(e.fields)-1].to = len(e.text)
	}
	e.short = e.short || limit >= 0 && int(size) > n
	if _, err := p.r.Discard(int(size) - n); err != nil {
		return unexpected(err)
	}
	end, err := p.r.ReadByte()
	if err == nil && end != '\n' {
		return garbage("no newline behind a value of %d bytes", size)
	}
	return unexpected(err)
}

// unexpected is the error of an end inside an entry.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
