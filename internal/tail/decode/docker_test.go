package decode

import (
	"os"
	"strings"
	"testing"

	"fanin/internal/wire"
)

// TestDocker: records as Docker writes them, as others do, and what is none.
func TestDocker(t *testing.T) {
	const at = `"time":"2016-10-06T00:17:09.5Z"`
	const shown = "2016-10-06T00:17:09.5Z "
	for _, x := range []struct{ raw, want string }{
		{`{"log":"text\n","stream":"stdout",` + at + `}`, shown + "text"},
		{`{"log":"\n","stream":"stderr",` + at + `}`, shown},
		{`{"log":"a \"quote\", a \\, \u003ctag\u003e, \t and \r\n","stream":"stdout",` + at + `}`,
			shown + "a \"quote\", a \\, <tag>, \t and \r"},
		{`{"log":"ends in a backslash\\\n","stream":"stdout",` + at + `}`, shown + `ends in a backslash\`},
		{`{"log":"\u0000 \u00e9 \ud83d\ude00 \ud83d \ufffd\n","stream":"stdout",` + at + `}`,
			shown + "\x00 é 😀 \ufffd \ufffd"},
		{`{"log":"text\n","stream":"stdout","attrs":{"tag":"a}\"","b":"c"},` + at + `}`, shown + "text"},
		{`{"log": "as Python writes it\n", "stream": "stdout", ` + at + `}`, shown + "as Python writes it"},
		{`{` + at + `,"stream":"stderr","log":"in another order\n"}`, shown + "in another order"},
		{`{"log":"no time\n","stream":"stdout"}`, "no time"},
		{`{"log":"a newline\ninside\u000a of it\n","stream":"stdout",` + at + `}`, shown + `a newline\ninside\n of it`},
		{`{"log":"cut in the mid`, "="},
		{`{"log":"cut in the mid{"log":"text\n","stream":"stdout",` + at + `}`, "="},
		{`{"log":"a bad time\n","stream":"stdout","time":"yesterday"}`, "="},
		{`{"log":5,"stream":"stdout",` + at + `}`, "="},
		{`{"log":"x\n","stream":"stdout",` + at + `} and more`, "="},
		{`{"message":"another object"}`, "="},
		{`{}`, "="}, {`{`, "="}, {``, "="}, {`plain text`, "="}, {`{"log":"`, "="}, {`{"log":"\`, "="},
	} {
		if x.want == "=" {
			x.want = x.raw
		}
		r := &reader{TB: t, decoder: Docker{}, raw: []byte(x.raw + "\n"), first: 4 << 10, largest: 4 << 10, maxLine: 1 << 10}
		got, _ := r.all(0, false)
		same(t, got, []string{x.want})
		if out := r.batch(0, false); (out.Unfit == 1) != (x.want == x.raw) {
			t.Errorf("%q: %d lines are not of the format", x.raw, out.Unfit)
		}
	}
}

// TestDockerAttributes: a file with attributes, as Docker's own driver has written it.
func TestDockerAttributes(t *testing.T) {
	raw, err := os.ReadFile("../testdata/docker/attrs-json.log")
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{TB: t, decoder: Docker{}, raw: raw, first: 1 << 20, largest: 1 << 20, maxLine: wire.MaxLine}
	got, to := r.all(0, false)
	long := strings.Repeat("0123456789abcdef", 2600)
	same(t, untimed(got), []string{"one", "two \"quoted\" \\ <tag> & \t\u2028 \x00\x1b[31m \ufffd end", "", "between", long, "behind \U0001f600"})
	if to != len(raw) {
		t.Errorf("%d of %d bytes", to, len(raw))
	}
}

// TestDockerLong: a log that is longer than a block, with escapes everywhere, comes in parts
// that make it again.
func TestDockerLong(t *testing.T) {
	c := &container{docker: true}
	c.write(0, "before", false)
	long := strings.Repeat("12345\"\\\t<é😀\x00", 400_000)
	c.write(0, long, false)
	c.write(0, "behind", false)
	for _, maxLine := range []int{wire.MaxLine, 300} {
		if testing.Short() && maxLine < wire.MaxLine {
			continue
		}
		r := c.reader(t)
		r.first, r.maxLine = r.largest, maxLine
		got, to := r.all(0, false)
		var text strings.Builder
		for _, line := range got {
			line = strings.TrimSuffix(line, wire.SplitMark)
			if _, rest, ok := strings.Cut(line, "Z "); ok && line[10] == 'T' {
				line = rest
			}
			text.WriteString(strings.TrimPrefix(line, wire.SplitGoesOn))
		}
		if to != len(c.raw) || text.String() != "before"+long+"behind" {
			t.Errorf("%d of %d bytes, %d bytes of text, want %d", to, len(c.raw), text.Len(), len(long)+12)
		}
	}
}

func FuzzDocker(f *testing.F) { fuzzRecords(f, Docker{}, dockerRecords{}) }

// FuzzEscapes: what is unescaped in parts is what is unescaped at once.
func FuzzEscapes(f *testing.F) {
	f.Add([]byte(`a\u00e9\ud83d\ude00\ud83d\n\\\q\u12`), uint8(7))
	f.Fuzz(func(t *testing.T, text []byte, limit uint8) {
		whole, n := unescape(nil, text, len(text))
		var parts []byte
		for at := 0; ; {
			out, m := unescape(nil, text[at:], 4+int(limit)%60)
			if m == 0 {
				if at != n {
					t.Fatalf("stopped at %d, not at %d", at, n)
				}
				break
			}
			parts, at = append(parts, out...), at+m
		}
		if string(parts) != string(whole) {
			t.Fatalf("%q, want %q", parts, whole)
		}
	})
}
