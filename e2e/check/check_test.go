package check

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"fanin/e2e/load"
)

const prefix = "2026-11-22T17:00:00.123456Z web app: "

// text is n lines of source 7, laid out.
func text(n int) (lines [][]byte) {
	for i := range n {
		lines = append(lines, load.Append([]byte(prefix), 7, i))
	}
	return lines
}

func checked(t *testing.T, e *Expect, lines [][]byte) *Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), "all.log")
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o640); err != nil {
		t.Fatal(err)
	}
	r, err := e.Files([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func same(t *testing.T, name string, got *Result, want Result) {
	t.Helper()
	want.Lines = got.Lines
	if got.String() != want.String() {
		t.Errorf("%s: got %v, want %v\n%s", name, got, &want, strings.Join(got.First, "\n"))
	}
	if !want.OK() && len(got.First) == 0 {
		t.Errorf("%s: nothing says where", name)
	}
}

// TestCatches: each way in which a log can be wrong is found, and counted once.
func TestCatches(t *testing.T) {
	f := func(name string, spoil func(l [][]byte) [][]byte, want Result) {
		t.Helper()
		same(t, name, checked(t, &Expect{Written: map[int]int{7: 100}}, spoil(text(100))), want)
	}
	lay := func(s string) []byte { return load.Append([]byte(s), 7, 100) }
	f("nothing", func(l [][]byte) [][]byte { return l }, Result{})
	f("lost", func(l [][]byte) [][]byte { return slices.Delete(l, 50, 52) }, Result{Lost: 2})
	f("lost at the beginning", func(l [][]byte) [][]byte { return l[1:] }, Result{Lost: 1})
	f("lost at the end", func(l [][]byte) [][]byte { return l[:99] }, Result{Lost: 1})
	f("lost altogether", func(l [][]byte) [][]byte { return nil }, Result{Lost: 100})
	f("doubled", func(l [][]byte) [][]byte { return slices.Insert(l, 60, l[10]) }, Result{Doubled: 1})
	f("doubled at once", func(l [][]byte) [][]byte { return slices.Insert(l, 60, l[60]) }, Result{Doubled: 1})
	f("printed again from the start", func(l [][]byte) [][]byte { return append(l, l...) }, Result{Doubled: 100})
	f("swapped", func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l }, Result{Reordered: 1})
	f("torn", func(l [][]byte) [][]byte { l[5] = append(l[5][:20:20], '\n'); return l }, Result{Torn: 1, Lost: 1})
	f("torn in the prefix", func(l [][]byte) [][]byte { l[5] = l[5][3:]; return l }, Result{Torn: 1, Lost: 1})
	f("glued", func(l [][]byte) [][]byte { l[5] = l[5][:len(l[5])-1]; return l }, Result{Torn: 1, Lost: 2})
	f("an empty line", func(l [][]byte) [][]byte { return slices.Insert(l, 9, []byte("\n")) }, Result{Torn: 1})
	f("a changed byte", func(l [][]byte) [][]byte { l[9][60]++; return l }, Result{Torn: 1, Lost: 1})
	f("a changed digit of the time", func(l [][]byte) [][]byte { l[9][3] = 'x'; return l }, Result{Torn: 1, Lost: 1})
	f("a NUL", func(l [][]byte) [][]byte { l[9] = append([]byte{0}, l[9]...); return l }, Result{Torn: 1, Lost: 1})
	f("a block of NULs", func(l [][]byte) [][]byte { return append(l, make([]byte, 4096), []byte("\n")) }, Result{Torn: 1})
	f("no last newline", func(l [][]byte) [][]byte { l[99] = l[99][:len(l[99])-1]; return l }, Result{Torn: 1, Lost: 1})
	f("never sent", func(l [][]byte) [][]byte { return append(l, lay(prefix)) }, Result{Phantom: 1})
	f("of no source", func(l [][]byte) [][]byte { return append(l, load.Append([]byte(prefix), 8, 0)) }, Result{Phantom: 1})
	f("a foreign line", func(l [][]byte) [][]byte { return append(l, []byte(prefix+"hello\n")) }, Result{Torn: 1})
	f("a notice", func(l [][]byte) [][]byte {
		return append(l, []byte(strings.Replace(prefix, "app", "fanin", 1)+"RESUMED\n"))
	}, Result{Notices: 1})
}

// TestKept: of a source that gets no answers, lines may be missing, but none may
// come twice, late or torn.
func TestKept(t *testing.T) {
	f := func(name string, spoil func(l [][]byte) [][]byte, want Result) {
		t.Helper()
		e := &Expect{Written: map[int]int{7: 100}, Kept: map[int]int{7: 10}}
		same(t, name, checked(t, e, spoil(text(100))), want)
	}
	f("nothing", func(l [][]byte) [][]byte { return l }, Result{})
	f("the last of those kept", func(l [][]byte) [][]byte { return slices.Delete(l, 9, 10) }, Result{Lost: 1})
	f("the first of the others", func(l [][]byte) [][]byte { return slices.Delete(l, 10, 11) }, Result{})
	f("doubled", func(l [][]byte) [][]byte { return slices.Insert(l, 60, l[10]) }, Result{Doubled: 1})
}

// TestDestroyed: what was destroyed need not be in the log, and only that.
func TestDestroyed(t *testing.T) {
	aside := filepath.Join(t.TempDir(), "aside")
	os.WriteFile(aside, bytes.Join(text(30), nil), 0o640)
	e := &Expect{Written: map[int]int{7: 100}, Destroyed: []string{aside}}
	same(t, "destroyed", checked(t, e, text(100)[30:]), Result{Destroyed: 30})
	same(t, "and one more", checked(t, e, text(100)[31:]), Result{Destroyed: 30, Lost: 1})
	same(t, "none of it", checked(t, e, text(100)), Result{})
}

// TestWhole: without knowing what was sent, gaps are found all the same.
func TestWhole(t *testing.T) {
	e := &Expect{Whole: true}
	same(t, "nothing", checked(t, e, text(50)), Result{})
	same(t, "a gap", checked(t, e, slices.Delete(text(50), 20, 21)), Result{Lost: 1})
}

// TestLayouts: the three layouts of the log, and what is not of them.
func TestLayouts(t *testing.T) {
	f := func(format, before, after string, want Result) {
		t.Helper()
		line := load.Append(nil, 7, 0)
		line = []byte(before + string(line[:len(line)-1]) + after + "\n")
		same(t, format+" "+before, checked(t, &Expect{Written: map[int]int{7: 1}, Format: format}, [][]byte{line}), want)
	}
	bad := Result{Torn: 1, Lost: 1}
	const json = `{"ObservedTimestamp":"2026-11-22T17:00:00.123456Z","host.name":"web01","service.name":"app","Body":"`
	f("syslog", prefix, "", Result{})
	f("raw", "", "", Result{})
	f("json", json, `"}`, Result{})
	f("json", json, `"`, bad)
	f("json", strings.Replace(json, "Body", "body2", 1), `"}`, bad)
	f("json", json, `"}{}`, bad)
	f("syslog", "", "", bad)
	f("syslog", strings.Replace(prefix, "web", "w b", 1), "", bad)
	f("raw", " ", "", bad)
	if _, err := (&Expect{Format: "xml"}).Files(nil); err == nil {
		t.Error("a format that there is not is taken")
	}
}

// TestPacked: an archive is read like the file it was, also when it took the
// file's place a moment ago.
func TestPacked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all-1.log")
	pack(t, path+".gz", bytes.Join(text(100), nil))
	for _, name := range []string{path, path + ".gz"} {
		r, err := Files([]string{name}, map[int]int{7: 100})
		if err != nil || !r.OK() || r.Lines != 100 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func pack(t *testing.T, path string, text []byte) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(text)
	z.Close()
	if err := os.WriteFile(path, b.Bytes(), 0o640); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkCheck(b *testing.B) {
	path := filepath.Join(b.TempDir(), "all.log")
	all := bytes.Join(text(50000), nil)
	os.WriteFile(path, all, 0o640)
	for b.Loop() {
		if r, err := Files([]string{path}, map[int]int{7: 50000}); err != nil || !r.OK() {
			b.Fatal(r, err)
		}
	}
	b.SetBytes(int64(len(all)))
	b.ReportMetric(float64(b.N)*50000/b.Elapsed().Seconds(), "lines/s")
}

// A request with a key may begin again, as often as its key is forgotten. Its lines
// are then in order, and what comes twice otherwise is still found.
func TestRequestsBeginAgain(t *testing.T) {
	f := func(name string, order []int, want Result) {
		t.Helper()
		all := text(6)
		var lines [][]byte
		for _, n := range order {
			lines = append(lines, all[n])
		}
		same(t, name, checked(t, &Expect{Written: map[int]int{7: 6}, Requests: map[int]bool{7: true}}, lines), want)
	}
	f("whole", []int{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}, Result{Again: 2})
	f("half", []int{0, 1, 2, 0, 1, 2, 3, 4, 5}, Result{Again: 1})
	f("half of it again", []int{0, 1, 2, 3, 4, 5, 0, 1, 2}, Result{Again: 1})
	f("from the middle", []int{0, 1, 2, 3, 4, 5, 3, 4, 5}, Result{Doubled: 3})
	f("with a hole", []int{0, 1, 2, 3, 4, 5, 0, 1, 3, 4, 5}, Result{Again: 1, Doubled: 3})
	f("and lost", []int{0, 1, 2, 0, 1, 2, 4, 5}, Result{Again: 1, Lost: 1})
	same(t, "no request", checked(t, &Expect{Written: map[int]int{7: 2}}, append(text(2), text(2)...)), Result{Doubled: 2})
}
