package redisconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// show writes a value so that a reader of the test sees all of it.
func show(v Value) string {
	switch n := v.node(); n.kind {
	case null:
		return "null"
	case skipped:
		return fmt.Sprintf("skipped(%d)", n.n)
	case integer:
		return fmt.Sprint(n.n)
	case failure:
		return fmt.Sprintf("error(%s)", v.Bytes())
	case text:
		return fmt.Sprintf("%q", v.Bytes())
	}
	var all []string
	for _, e := range v.All() {
		all = append(all, show(e))
	}
	open := "["
	if v.node().kind == push {
		open = "push["
	}
	return open + strings.Join(all, " ") + "]"
}

// small is a Reader with limits that a test can reach.
func small(src io.Reader) *Reader {
	r := NewReader(src, 8, 24, nil)
	r.maxNodes = 12
	return r
}

// TestReplies: what each form of a reply is read as, in one piece and byte by byte.
func TestReplies(t *testing.T) {
	for wire, want := range map[string]string{
		"+OK\r\n":                            `"OK"`,
		"-ERR no such thing\r\n":             "error(ERR no such thing)",
		":-42\r\n":                           "-42",
		":9223372036854775807\r\n":           "9223372036854775807",
		":-9223372036854775808\r\n":          "-9223372036854775808",
		"$5\r\nhello\r\n":                    `"hello"`,
		"$0\r\n\r\n":                         `""`,
		"$4\r\n\r\n\r\n\r\n":                 `"\r\n\r\n"`,
		"$-1\r\n":                            "null",
		"*-1\r\n":                            "null",
		"*0\r\n":                             "[]",
		"*3\r\n:1\r\n$1\r\na\r\n*1\r\n_\r\n": `[1 "a" [null]]`,
		"_\r\n":                              "null",
		"#t\r\n":                             "1",
		"#f\r\n":                             "0",
		",1.5e3\r\n":                         `"1.5e3"`,
		",inf\r\n":                           `"inf"`,
		"(123456789012345678901\r\n":         `"123456789012345678901"`,
		"!7\r\nERR bad\r\n":                  "error(ERR bad)",
		"=7\r\ntxt:abc\r\n":                  `"abc"`,
		"=4\r\ntxt:\r\n":                     `""`,
		"%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n":     `["a" 1 "b" []]`,
		"~2\r\n:1\r\n:2\r\n":                 "[1 2]",
		">2\r\n+message\r\n+x\r\n":           `push["message" "x"]`,
		"|1\r\n+ttl\r\n:3\r\n+OK\r\n":        `"OK"`,
		"*2\r\n|1\r\n+k\r\n*1\r\n:9\r\n:1\r\n:2\r\n": "[1 2]",
		"$9\r\n123456789\r\n":                        "skipped(9)",
		"*2\r\n$9\r\n123456789\r\n$1\r\na\r\n":       `[skipped(9) "a"]`,
		"=9\r\ntxt:12345\r\n":                        "skipped(9)",
	} {
		for name, src := range map[string]io.Reader{"whole": strings.NewReader(wire), "byte by byte": iotest.OneByteReader(strings.NewReader(wire))} {
			r := small(src)
			v, err := r.Next()
			if err != nil || show(v) != want || r.Overflowed() {
				t.Errorf("%q, %s: %s, %v, want %s", wire, name, show(v), err, want)
			}
			if v, err := r.Next(); err != io.EOF {
				t.Errorf("%q, %s, has more: %s, %v", wire, name, show(v), err)
			}
		}
	}
}

// TestOverflow: in a reply that is too large, what is beyond the limit is skipped, and the
// next reply is whole again.
func TestOverflow(t *testing.T) {
	const one = "$8\r\n12345678\r\n"
	skippedBytes := 0
	r := NewReader(strings.NewReader("*5\r\n"+strings.Repeat(one, 4)+"+after\r\n"+"*2\r\n$9\r\n123456789\r\n"+one), 8, 24,
		func(n int64) { skippedBytes += int(n) })
	if v, err := r.Next(); err != nil || show(v) != `["12345678" "12345678" "12345678" skipped(8) skipped(5)]` || !r.Overflowed() {
		t.Errorf("%s, %v, overflowed %v", show(v), err, r.Overflowed())
	}
	if skippedBytes != 0 {
		t.Error("a string within its own limit was counted as longer")
	}
	if v, err := r.Next(); err != nil || show(v) != `[skipped(9) "12345678"]` || r.Overflowed() || skippedBytes != 9 {
		t.Errorf("%s, %v, overflowed %v, skipped %d", show(v), err, r.Overflowed(), skippedBytes)
	}
}

// TestManyElements: lists beyond the limit of elements are skipped, whole and alone, and
// what follows them is read.
func TestManyElements(t *testing.T) {
	wide := "*20\r\n" + strings.Repeat("*1\r\n$1\r\na\r\n", 20)
	r := NewReader(strings.NewReader("*4\r\n:1\r\n*2\r\n:2\r\n:3\r\n"+wide+"+end\r\n:8\r\n"), 0, 0, nil)
	r.maxNodes = 10
	v, err := r.Next()
	if got := show(v); err != nil || got != `[1 [2 3] skipped(20) "end"]` || !r.Overflowed() {
		t.Errorf("%s, %v, overflowed %v", got, err, r.Overflowed())
	}
	if v, err = r.Next(); err != nil || show(v) != "8" || r.Overflowed() {
		t.Errorf("%s, %v, overflowed %v", show(v), err, r.Overflowed())
	}
	r = NewReader(io.MultiReader(strings.NewReader("*2\r\n+id\r\n*1000000\r\n"), strings.NewReader(strings.Repeat("$1\r\na\r\n", 1000000))), 0, 0, nil)
	if v, err = r.Next(); err != nil || show(v) != `["id" skipped(1000000)]` {
		t.Errorf("%.200s, %v", show(v), err)
	}
}

// TestMalformed: what breaks the protocol is an error that says so, and costs nothing, at
// whatever length it claims.
func TestMalformed(t *testing.T) {
	deep := strings.Repeat("*1\r\n", 100)
	for wire, want := range map[string]string{
		"$9223372036854775806\r\n":  "a string of 9223372036854775806 bytes is announced",
		"$99999999999999999999\r\n": "is no number",
		"$-2\r\n":                   "a string of -2 bytes",
		"=-1\r\n":                   "a string of -1 bytes",
		"*100000000000\r\n":         "a list of 100000000000 elements",
		"%9223372036854775807\r\n":  "a list of 9223372036854775807 elements",
		"%-1\r\n":                   "a list of -1 elements",
		"*1\r\n*300000\r\n" + strings.Repeat("_\r\n", 300000) + "": "",
		deep:                             "more than 32 deep",
		strings.Repeat("|0\r\n", 600000): "more than 64 attributes at one place",
		strings.Repeat("a", 1<<20):       "a line has more than 65536 bytes",
		"+" + strings.Repeat("a", 1<<20): "a line has more than 65536 bytes",
		"HTTP/1.1 400 Bad Request\r\n":   `"HTTP/1.1 400 Bad Request" is no reply of a Redis server`,
		"\x15\x03\x01\x00\x02\x02\n":     "is no reply of a Redis server",
		"\r\n":                           "is no reply",
		"+a\n":                           "is no reply",
		"$?\r\n":                         "is no number",
		":\r\n":                          "is no number",
		":+\r\n":                         "is no number",
		":1a\r\n":                        "is no number",
		":9223372036854775808\r\n":       "is no number",
		"$1\r\nab\r\n":                   "follows a string instead of its end",
		"=3\r\ntxt\r\n":                  "is no verbatim string",
		"#x\r\n":                         "is no boolean",
	} {
		if want == "" {
			continue
		}
		name := wire[:min(len(wire), 24)]
		v, err := small(strings.NewReader(wire)).Next()
		if !errors.As(err, new(*ProtocolError)) || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%q: %s, %v; want %s", name, show(v), err, want)
		}
	}
}

// TestCut: a connection that ends inside of a reply is no end of the replies.
func TestCut(t *testing.T) {
	const whole = "*3\r\n$5\r\nhello\r\n%1\r\n+a\r\n$9\r\n123456789\r\n:1\r\n"
	for n := 1; n < len(whole); n++ {
		if v, err := small(strings.NewReader(whole[:n])).Next(); err != io.ErrUnexpectedEOF {
			t.Fatalf("%q: %s, %v", whole[:n], show(v), err)
		}
	}
}

// repeat is a source of n bytes.
type repeat struct{ left int64 }

func (r *repeat) Read(p []byte) (int, error) {
	n := min(int64(len(p)), r.left)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = 'x'
	}
	r.left -= n
	return int(n), nil
}

// TestSkipCostsNothing: a string of 1 GiB is skipped, and memory stays what it was.
func TestSkipCostsNothing(t *testing.T) {
	const n = 1 << 30
	r := NewReader(io.MultiReader(strings.NewReader(fmt.Sprintf("*2\r\n$%d\r\n", n)), &repeat{n}, strings.NewReader("\r\n+next\r\n")), 0, 0, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v, err := r.Next()
	runtime.ReadMemStats(&after)
	if err != nil || show(v) != fmt.Sprintf(`[skipped(%d) "next"]`, n) {
		t.Fatalf("%s, %v", show(v), err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
		t.Errorf("%d bytes were allocated", got)
	}
}

// TestNoAllocation: a reply like the one before it allocates nothing.
func TestNoAllocation(t *testing.T) {
	reply := "*2\r\n$3\r\nkey\r\n*100\r\n" + strings.Repeat("*2\r\n$3\r\n1-1\r\n*2\r\n$7\r\nmessage\r\n$5\r\nhello\r\n", 100)
	src := strings.NewReader("")
	r := NewReader(src, 0, 0, nil)
	read := func() {
		src.Reset(reply)
		v, err := r.Next()
		if err != nil || v.At(1).Len() != 100 {
			t.Fatal(err)
		}
		for _, e := range v.At(1).All() {
			if string(e.At(1).Get("message").Bytes()) != "hello" {
				t.Fatal(show(e))
			}
		}
	}
	read()
	if n := testing.AllocsPerRun(20, read); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestValues: what does not fit is null, false or nothing, and no panic.
func TestValues(t *testing.T) {
	var none Value
	if !none.IsNull() || none.String() != "" || none.Len() != 0 || none.Err() != nil || !none.At(3).IsNull() || none.IsText() {
		t.Error("the zero value is no null")
	}
	v, err := NewReader(strings.NewReader("*5\r\n$1\r\na\r\n:1\r\n+b\r\n-WRONGTYPE x\r\n+7\r\n"), 0, 0, nil).Next()
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := v.At(4).Int(); n != 7 || !ok {
		t.Error("a string that is a number is none")
	}
	if _, ok := v.At(0).Int(); ok || !v.At(5).IsNull() || !v.At(-1).IsNull() || !v.Get("c").IsNull() || !v.Get("1").IsNull() {
		t.Error("something is there that is not")
	}
	if n, _ := v.Get("a").Int(); n != 1 || Classify(v.Get("b").Err()) != WrongType || v.Err() != nil {
		t.Errorf("the map is %s", show(v))
	}
}

// corpus are the replies that fuzzing begins with: those of a real server, in both versions
// of its protocol, and hostile ones.
func corpus(f *testing.F) {
	files, err := filepath.Glob("testdata/replies/*")
	if err != nil || len(files) < 5 {
		f.Fatalf("the captured replies are missing: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{"$9223372036854775806\r\n", "*100000000000\r\n", "|1\r\n+k\r\n:1\r\n=7\r\ntxt:abc\r\n", "$9\r\n123456789\r\n", "*1\r\n*1\r\n*1\r\n>0\r\n"} {
		f.Add([]byte(s))
	}
}

// FuzzReader: whatever a server sends, reading ends, memory stays within the limits, the
// outcome does not depend on how the bytes came in pieces, and the tree can be walked.
func FuzzReader(f *testing.F) {
	corpus(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, pieces := small(bytes.NewReader(b)), small(iotest.OneByteReader(bytes.NewReader(b)))
		for {
			v, err := whole.Next()
			w, again := pieces.Next()
			if a, b := show(v), show(w); a != b {
				t.Fatalf("%s in one piece, %s byte by byte", a, b)
			}
			if (err == nil) != (again == nil) {
				t.Fatalf("%v in one piece, %v byte by byte", err, again)
			}
			if len(whole.text) > whole.MaxReply || len(whole.nodes) > whole.maxNodes+16 {
				t.Fatalf("it keeps %d bytes and %d nodes", len(whole.text), len(whole.nodes))
			}
			if err != nil {
				return
			}
			if v.node().next != int32(len(whole.nodes)) {
				t.Fatalf("the tree has %d nodes of %d", v.node().next, len(whole.nodes))
			}
			v.Err()
			v.Int()
			v.Get("a")
		}
	})
}
