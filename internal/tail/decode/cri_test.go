package decode

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// TestCRI: what the kubelet reads from such lines, and what is not of the format.
func TestCRI(t *testing.T) {
	const at = "2016-10-06T00:17:09.669794202Z"
	unfit := 0
	for _, x := range []struct{ raw, want string }{
		{at + " stdout F The content", at + " The content"},
		{at + " stderr F  two  blanks ", at + "  two  blanks "},
		{at + " stdout F ", at + " "},
		{at + " stdout F", at + " "},
		{at + " stdout F:tag2:tag3 text: with colons", at + " text: with colons"},
		{at + " stdout F ends in CR\r", at + " ends in CR\r"},
		{"2016-10-06T02:17:09.669794202+02:00 stdout F with a zone", at + " with a zone"},
		{"2016-10-05T18:47:09.669794202-05:30 stdout F with another", at + " with another"},
		{"2016-10-06T00:17:09Z stdout F no fraction", "2016-10-06T00:17:09Z no fraction"},
		{"2016-10-06T00:17:09.5Z stdout F one digit", "2016-10-06T00:17:09.5Z one digit"},
		{"2016-02-29T00:00:00Z stdout F leap day", "2016-02-29T00:00:00Z leap day"},
		{"2016-02-30T00:00:00Z stdout F no such day", "="},
		{"2016-13-06T00:17:09Z stdout F no such month", "="},
		{"2016-10-06T24:17:09Z stdout F no such hour", "="},
		{"2016-10-06T00:17:09.Z stdout F no digits", "="},
		{"2016-10-06T00:17:09.123 stdout F no zone", "="},
		{"9999-12-31T23:59:59-01:00 stdout F a year that cannot be written", "="},
		{"2016-10-06 00:17:09Z stdout F a blank", "="},
		{at + " stdout text without a tag", "="},
		{at + " stdlog F no such stream", "="},
		{at + " stdout X no such tag", "="},
		{at + " stdout F:tags-without-end", "="},
		{at + " stdout", "="},
		{at, "="}, {"", "="}, {"plain text", "="}, {"\x00\xff", "="},
	} {
		if x.want == "=" {
			x.want = x.raw
			unfit++
		}
		r := &reader{TB: t, decoder: CRI{}, raw: []byte(x.raw + "\n"), first: 4 << 10, largest: 4 << 10, maxLine: 1 << 10}
		got, _ := r.all(0, false)
		same(t, got, []string{x.want})
		if out := r.batch(0, false); (out.Unfit == 1) != (x.want == x.raw) {
			t.Errorf("%q: %d lines are not of the format", x.raw, out.Unfit)
		}
	}
}

// TestCRIEndless: records that never end, and a record that never ends.
func TestCRIEndless(t *testing.T) {
	record := "2016-10-06T00:17:09Z stdout P " + strings.Repeat("é", 8<<10) + "\n"
	for name, raw := range map[string]string{
		"records": strings.Repeat(record, 500),
		"record":  "2016-10-06T00:17:09Z stdout P " + strings.Repeat("0123456789abcde\u00e9", 600_000) + "\n",
		"plain":   strings.Repeat("0123456789abcde\u00e9", 600_000),
	} {
		r := &reader{TB: t, decoder: CRI{}, raw: []byte(raw), first: 1 << 20, largest: 2<<20 + 8<<10, maxLine: wire.MaxLine}
		got, _ := r.all(0, false)
		text := strings.Join(untimedParts(got), "")
		if len(got) < 4 || len(text) < len(raw)-len(raw)/4 || strings.Contains(text, "\ufffd") {
			t.Errorf("%s: %d lines with %d of %d bytes", name, len(got), len(text), len(raw))
		}
		if name == "record" && strings.Trim(text, "0123456789abcdeé") != "" {
			t.Errorf("%s: something else is in it", name)
		}
	}
}

// untimedParts are parts of lines without marks and times.
func untimedParts(got []string) (text []string) {
	for _, line := range got {
		line = strings.TrimPrefix(line, "2016-10-06T00:17:09Z ")
		text = append(text, strings.TrimSuffix(strings.TrimPrefix(line, wire.SplitGoesOn), wire.SplitMark))
	}
	return text
}

// TestClock: every time reads as the standard library reads it.
func TestClock(t *testing.T) {
	var c clock
	for _, zone := range []string{"Z", "+00:00", "-07:00", "+05:45"} {
		for i := range 2000 {
			at := time.Unix(int64(i)*7_654_321_99-500_000_000_0, int64(i)*1_234_567).UTC()
			text := at.Format("2006-01-02T15:04:05.999999999") + zone
			want, err := time.Parse(time.RFC3339Nano, text)
			got, n := c.read([]byte(text + " "))
			if err == nil != (n > 0) || n > 0 && (n != len(text) || !got.Equal(want)) {
				t.Fatalf("%s: %v, %d bytes; want %v, %v", text, got, n, want, err)
			}
		}
	}
}

// benchmarkDecode decodes 100,000 lines of about 100 bytes, each with a time of its own.
func benchmarkDecode(b *testing.B, docker bool) {
	c := &container{docker: docker}
	text := strings.Repeat("a line of text ", 7)[:96]
	const count = 100_000
	for i := range count {
		c.write(i%10/9, fmt.Sprintf("%s%4d", text, i%10_000), false)
	}
	r := c.reader(b)
	block := make([]byte, 2<<20+8<<10)
	window := r.decoder.Window(block)
	b.SetBytes(int64(len(c.raw)))
	b.ReportAllocs()
	for b.Loop() {
		for at := 0; at < len(c.raw); {
			n := copy(window, c.raw[at:])
			out := r.decoder.Decode(Input{Block: block, Raw: window[:n], Offset: int64(at), MaxLine: wire.MaxLine})
			if out.Raw == 0 {
				b.Fatalf("nothing at %d", at)
			}
			at += out.Raw
		}
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlines/s")
}

func BenchmarkCRI(b *testing.B)    { benchmarkDecode(b, false) }
func BenchmarkDocker(b *testing.B) { benchmarkDecode(b, true) }

// FuzzCRI: whatever the bytes are, they are decoded to the end, in steps; no text is lost.
func FuzzCRI(f *testing.F) { fuzzRecords(f, CRI{}, criRecords{}) }

// fuzzRecords fuzzes a decoder of records.
func fuzzRecords(f *testing.F, d Decoder, r records) {
	c := &container{docker: d == Docker{}}
	c.write(0, "begins", true)
	c.write(1, "beside \"it\"", false)
	c.write(0, "and ends\u2028\x00", false)
	f.Add(c.raw, uint16(44), uint8(0))
	f.Add(append(c.raw, c.raw[:50]...), uint16(0), uint8(1))
	f.Add([]byte("2016-10-06T00:17:09Z stdout P x\n2016-10-06T00:17:09Z stdout P:a:b \n"), uint16(9), uint8(2))
	f.Add([]byte(`{"stream":"stderr","log":"\ud83d\ude00\u000a","attrs":{"a":["}",{}]}}`+"\n"), uint16(9), uint8(3))
	f.Add([]byte(`{"log":"`+strings.Repeat(`\"\u0000`, 300)), uint16(9), uint8(3))
	f.Fuzz(func(t *testing.T, raw []byte, limit uint16, how uint8) {
		x := &reader{TB: t, decoder: d, raw: raw, first: 1 << 10, largest: 8 << 10, maxLine: 256 + int(limit)%3000, end: how%2 == 1}
		if how/2%2 == 1 {
			x.held = openFor
		}
		got, at := x.all(0, false)
		if x.end && at < len(raw) {
			t.Fatalf("%d of %d bytes at the end", at, len(raw))
		}
		if bytes.Contains(raw, []byte("[fanin: ")) {
			return
		}
		text := 0
		for _, line := range got {
			text += len(strings.TrimSuffix(strings.TrimPrefix(line, wire.SplitGoesOn), wire.SplitMark))
		}
		want := 0
		var c clock
		for record := range bytes.Lines(raw[:at]) {
			if record = bytes.TrimSuffix(record, []byte("\n")); at < len(raw) && !bytes.HasSuffix(raw[:at], []byte("\n")) {
				continue
			}
			e := r.read(&c, record, true)
			want += len(r.append(nil, e.text, e.unfit))
		}
		if text < want && x.maxLine > 8<<10 {
			t.Fatalf("%d of %d bytes of text", text, want)
		}
	})
}
