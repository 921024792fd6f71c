package plain

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanin/ingest"
	"fanin/ingest/stream"
	"fanin/ingest/syslog"
	"fanin/internal/wire"
)

// taken is what a connection appended: lines with their labels.
type taken struct{ lines []string }

func (k *taken) Append(_ context.Context, b wire.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	for labels, text := range b.Runs() {
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte{'\n'})
			if b.Joined {
				line = wire.AppendRecordText(nil, line)
			}
			k.add(labels, string(line))
		}
	}
	return nil
}

func (k *taken) add(labels wire.Labels, line string) {
	k.lines = append(k.lines, fmt.Sprintf("%s %s: %q", labels.Host, labels.Source, line))
}

// inBlocks is what a connection makes of text that comes in pieces of these sizes; with an odd
// size, what is whole is appended behind the piece. told is what it says of wrong frames.
func inBlocks(t testing.TB, text, sizes []byte, s *syslog.Settings, limit int) (k taken, told []string) {
	t.Helper()
	p := &Protocol{Out: &k, Syslog: s, MaxLine: limit}
	p.Format()
	c := &conn{Conn: &stream.Conn{Host: "h", Budget: new(ingest.Budget)}, p: p, appending: t.Context(),
		in: &stream.Intake{Block: make([]byte, len(text)+1)}}
	p.MaxLine = wire.MaxLine
	c.begin()
	c.frames.limit, c.messages.limit = limit, limit
	c.frames.wrong = func(what string, _ int) { told = append(told, what) }
	for i := 0; len(text) > 0; i++ {
		n := len(text)
		if i < len(sizes) {
			n = min(n, int(sizes[i]/2))
		}
		c.in.Have += copy(c.in.Block[c.in.Have:], text[:n])
		c.findEnds(n)
		text = text[n:]
		if c.whole > 0 && (i >= len(sizes) || sizes[i]%2 == 1 || len(text) == 0) {
			b := whole{text: c.in.Block[:c.whole], special: c.frames.special, nuls: c.ends.NULs()}
			if err := c.append(b); err != nil {
				t.Fatal(err)
			}
			c.in.Have = copy(c.in.Block, c.in.Block[c.whole:c.in.Have])
			c.whole, c.frames.special = 0, false
		}
	}
	if rest := c.in.Bytes(); len(rest) > 0 {
		if err := c.appendRest(rest); err != nil {
			t.Fatal(err)
		}
	}
	return k, told
}

// shortest is less than any limit of the configuration, and more than what shows a count.
const shortest = 5

var octetCount = regexp.MustCompile(`^([1-9][0-9]{0,8}) <[0-9]{1,3}>`)

// byTheBook is inBlocks, written down as the documents say it.
func byTheBook(text string, s *syslog.Settings, limit int) (k taken) {
	scanner, nuls, swallow := s.New(), false, false
	add := func(msg string, counted bool) {
		if _, size := ingest.Priority([]byte(msg)); size == 0 && !counted && !s.Any {
			k.add(wire.Labels{Host: "h", Source: "tcp"}, msg)
			return
		}
		out, labels := scanner.Scan(nil, []byte(msg), &syslog.Origin{Host: "h", Now: time.Now()})
		k.add(labels, string(wire.AppendRecordText(nil, out)))
	}
	for text != "" {
		if m := octetCount.FindStringSubmatch(text); m != nil {
			text = text[len(m[1])+1:]
			n, _ := strconv.Atoi(m[1])
			n = min(n, len(text))
			add(text[:min(n, limit)], true)
			text, swallow = text[n:], true
			continue
		}
		if _, size := ingest.Priority([]byte(text)); size > 0 {
			nuls = true
		}
		end := strings.IndexByte(text, '\n')
		if nuls {
			end = strings.IndexAny(text, "\n\x00")
		}
		if end < 0 {
			add(text, false)
			break
		}
		switch begun := end > 0; {
		case !begun && (swallow || text[end] == 0):
			swallow = swallow && text[end] == 0
		default:
			add(text[:end], false)
			swallow = text[end] == 0
		}
		text = text[end+1:]
	}
	return k
}

func FuzzFrames(f *testing.F) {
	for _, s := range []string{"", "a\nb\n", "16 <34>hello\nworld!!17 <34>again, hello!x\n", "5 <34>1 hello\n", "999999999 <34>never\nends", "1234567890 <34>x\n",
		"-5 <34>x\n05 <34>x\n", "<34>a\x0016 <34>counted text\n\n<34>b\n", "2026-11-25 <34>no count\n7 <34>abc\n\n\n", "9 <999>abcd<34>x\n", "83 <34>", "8", "83 ",
		"line <b>\n<b>bold</b>\n7 apples\n 7 <34>\n", "a\n<34>b\x00c\n", "4 <34>\x00\n4 <1>\n\x00\nx", "12 <34>\xc0\xc1 \xff\n.<1>\xc0\xc0\n", "<3", "<34", "1 <0>", "a\n2 <34>"} {
		f.Add([]byte(s), []byte{3}, byte(40), false)
		f.Add([]byte(s), []byte{5, 4, 3}, byte(3), true)
	}
	f.Fuzz(func(t *testing.T, text, sizes []byte, limit byte, every bool) {
		s := &syslog.Settings{Source: "tcp", Any: every}
		for _, begin := range []string{"begin\n", "<13>"} { // whether NULs end lines is then known
			sizes := append([]byte{byte(2 * len(begin))}, sizes...)
			text := begin + string(text)
			got, _ := inBlocks(t, []byte(text), sizes, s, int(limit)+shortest)
			if want := byTheBook(text, s, int(limit)+shortest); !slices.Equal(got.lines, want.lines) {
				t.Fatalf("%q in pieces %v, limit %d, became\n%s\nwant\n%s", text, sizes, limit, strings.Join(got.lines, "\n"), strings.Join(want.lines, "\n"))
			}
		}
	})
}
