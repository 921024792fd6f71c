package relay

import (
	"bytes"
	"strings"

	"fanin/internal/escape"
	"fanin/internal/wire"
	"fanin/sink/line"
)

// labeler takes the lines of a log apart: into what a batch has as labels, and the text. Most
// lines begin as the one before, and are not parsed.
type labeler struct {
	format string
	host   string // of lines that show none, because another process wrote them

	prefix []byte // of the line before: all before its body
	labels wire.Labels
	clock  clock
	raw    bool   // the line before is another process's: nothing in it is escaped
	value  []byte // of an attribute, or of a body
	made   []byte // the text of the last line, where it is not its body
}

// jsonEnd is what follows the body of a line in format json.
const jsonEnd = `"}`

// body returns the text of a line as the file has it, its labels are in l.labels. changed: they
// may differ from those of the line before.
func (l *labeler) body(text []byte) (body []byte, changed bool) {
	if len(l.prefix) > 0 && bytes.HasPrefix(text, l.prefix) {
		if body = text[len(l.prefix):]; l.format != "json" {
			return body, false
		}
		if body, ok := bytes.CutSuffix(body, []byte(jsonEnd)); ok {
			return body, false
		}
	}
	if l.onlyTime(text) {
		return text[len(l.prefix):], true
	}
	f := line.Parse(l.format, text)
	l.prefix = l.prefix[:0]
	if l.raw = f.Time == nil; l.raw { // another process wrote it
		l.labels = wire.Labels{Host: l.host, Source: "-"}
		return f.Body, true
	}
	end := len(text) - len(f.Body)
	if l.format == "json" {
		end -= len(jsonEnd)
	}
	l.prefix = append(l.prefix, text[:end]...)
	l.parse(&f)
	return f.Body, true
}

// onlyTime sets the labels of a line that begins as the one before, but for its time.
func (l *labeler) onlyTime(text []byte) bool {
	n := len(l.prefix)
	if l.format == "json" || n <= timeSize || len(text) < n || !bytes.Equal(text[timeSize:n], l.prefix[timeSize:]) {
		return false
	}
	t, ok := l.clock.parse(text[:timeSize])
	if ok {
		copy(l.prefix, text[:timeSize])
		l.labels.Time = t
	}
	return ok
}

// parse sets the labels. Names are cleaned, since the line may be another process's.
func (l *labeler) parse(f *line.Fields) {
	now := &l.labels
	if now.Host != string(f.Host) {
		now.Host = wire.CleanHost(string(f.Host))
	}
	if now.Source != string(f.Source) {
		if now.Source = string(f.Source); now.Source != wire.SourceNotice {
			now.Source = wire.CleanSource(now.Source)
		}
	}
	now.Time, _ = l.clock.parse(f.Time)
	l.parseAttributes(f.Attributes)
}

// parseAttributes reads the members of a JSON object, as the layout wrote it: "name":"value", and
// so on. What is not so is left out.
func (l *labeler) parseAttributes(text []byte) {
	if len(text) == 0 {
		l.labels.Attributes = ""
		return
	}
	var all []byte
	for len(text) > 0 {
		name, rest, ok := bytes.Cut(bytes.TrimPrefix(text, []byte(`"`)), []byte(`":"`))
		if !ok {
			break
		}
		end := quoteEnd(rest)
		l.value = escape.Unescape(l.value[:0], rest[:end])
		all, _ = wire.AppendAttribute(all, string(name), l.value)
		text = bytes.TrimPrefix(rest[min(end+1, len(rest)):], []byte(","))
	}
	if l.labels.Attributes != wire.Attributes(all) {
		l.labels.Attributes = wire.Attributes(strings.Clone(string(all)))
	}
}

// quoteEnd returns where the first quote is that has no backslash before it.
func quoteEnd(text []byte) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(text)
}

// cost is how many bytes of a batch a mark with the present labels may take.
func (l *labeler) cost() int {
	return wire.MarkBytes + len(l.labels.Host) + len(l.labels.Source) + len(l.labels.Attributes)
}

// maxBody is the longest text of a line that an upstream accepts.
const maxBody = wire.MaxLine + 255

// text returns the text of a line whose body is in the file: what the upstream's layout makes the
// same body of, or in format json, the text that it was made of, as wire.AppendRecord writes it. It
// is valid until the next call. Nil: it is longer than a line may be.
func (l *labeler) text(body []byte) []byte {
	text := body
	if l.format == "json" {
		if !l.raw && bytes.IndexByte(body, '\\') >= 0 {
			l.value = escape.Unescape(l.value[:0], body)
			text = l.value
		}
		if bytes.IndexByte(text, '\n') >= 0 || wire.IsRecord(text) {
			l.made = wire.AppendRecord(l.made[:0], text)
			text = l.made
		}
	}
	if len(text) >= maxBody {
		if short := l.shorten(text); short != nil {
			text = short
		}
	}
	if n := len(text); n > 0 && text[n-1] == '\r' { // the layout drops one
		l.made = append(append(l.made[:0], text...), '\r')
		text = l.made
	}
	switch n := len(text); {
	case n > maxBody:
		return nil
	case n == 0:
		return []byte{}
	}
	return text
}

// shorten returns a text that is too long as a shorter one of which the layout makes the same
// line; nil: there is none. The layout may make one byte four, so what is too long now was not
// when it came.
func (l *labeler) shorten(text []byte) []byte {
	if l.format == "json" {
		return bytes.ReplaceAll(text, []byte("\uFFFD"), []byte{0xff}) // what is not UTF-8 becomes U+FFFD
	}
	short := unescapeLine(text)
	if !bytes.Equal(escape.Line(nil, short), text) {
		return nil
	}
	return short
}

// unescapeLine replaces # and three octal digits of a byte that is escaped, but for the newline.
func unescapeLine(body []byte) (short []byte) {
	for i := 0; i < len(body); i++ {
		if n, ok := octal(body[i:]); ok && n != '\n' && (n < 0x20 || n >= 0x7f) {
			short = append(short, n)
			i += 3
			continue
		}
		short = append(short, body[i])
	}
	return short
}

func octal(text []byte) (n byte, ok bool) {
	if len(text) < 4 || text[0] != '#' || text[1] > '3' {
		return 0, false
	}
	for _, c := range text[1:4] {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | (c - '0')
	}
	return n, true
}
