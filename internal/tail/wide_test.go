package tail

import (
	"encoding/binary"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"
)

func utf16Text(order binary.AppendByteOrder, text string) string {
	var b []byte
	for _, c := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, c)
	}
	return string(b)
}

// A file in UTF-16 is followed, and reported once: on stderr, in the status and in
// the counts. Others are not.
func TestWideFileIsReported(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	r := newRig(t)
	r.change = func(t *Tailer) {
		t.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) { mu.Lock(); log.Write(p); mu.Unlock() }), nil))
	}
	wide := "\xff\xfe" + utf16Text(binary.LittleEndian, "one\ntwo\n")
	r.append("a.log", wide).append("b.log", "good\n").run()
	r.await(func() bool {
		return len(r.collector.lines()) > len("good \xff\xfe") && r.tailer.Counts()["wide_files"] == 1
	})
	r.append("a.log", utf16Text(binary.LittleEndian, "three\n")).append("b.log", "more\n")
	r.await(func() bool {
		return strings.Contains(r.collector.lines(), "t\x00h\x00r\x00e\x00e") && strings.Contains(r.collector.lines(), "more")
	})
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(log.String(), "is in another encoding"); n != 1 || !strings.Contains(log.String(), r.path("a.log")) {
		t.Errorf("it says so %d times:\n%s", n, log.String())
	}
	for _, f := range r.tailer.Status() {
		if wide := f.Path == r.path("a.log"); (f.Warning != "") != wide {
			t.Errorf("the status of %s warns %q", f.Path, f.Warning)
		}
	}
	if n := r.tailer.Counts()["wide_files"]; n != 1 {
		t.Errorf("counted %d files", n)
	}
}
