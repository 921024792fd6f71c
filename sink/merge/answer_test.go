package merge

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"slices"
	"testing"

	"fanin/sink"
)

// TestAnswerGolden: the body of an answer stays what it is.
func TestAnswerGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/answer.golden")
	if err != nil {
		t.Fatal(err)
	}
	text := "one\ntwo\nthree\n"
	spans := []sink.Span{{End: 8, Time: -1}, {End: len(text), Time: 1_790_000_000_123_456}}
	if got := append(appendSpans(nil, spans), text...); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var a answer
	if err := a.parseBody(want); err != nil || string(a.text) != text || !slices.Equal(a.spans, spans) {
		t.Errorf("read as %q with %v, %v", a.text, a.spans, err)
	}
}

// TestAnswerHeader: headers are read as they were set; wrong ones are refused.
func TestAnswerHeader(t *testing.T) {
	at, next := sink.Position{Generation: 3, Offset: 7}, sink.Position{Generation: 3, Offset: 90}
	for _, gone := range []*sink.GoneError{nil, {From: sink.Position{Generation: 1, Offset: 5}, To: at}} {
		h := make(http.Header)
		(&answer{log: "a1", format: "json", at: at, next: next, gone: gone}).setHeader(h)
		var a answer
		if err := a.parseHeader(h); err != nil || a.log != "a1" || a.format != "json" || a.at != at || a.next != next ||
			(a.gone == nil) != (gone == nil) || gone != nil && *a.gone != *gone {
			t.Errorf("%v is read as %+v, %v", h, a, err)
		}
		for _, key := range []string{headerPosition, headerNext, headerGone} {
			wrong := h.Clone()
			wrong.Set(key, "3:x")
			if err := a.parseHeader(wrong); err == nil {
				t.Errorf("%s: 3:x is accepted", key)
			}
		}
	}
}

// FuzzAnswer: what is accepted is written again as it was.
func FuzzAnswer(f *testing.F) {
	golden, err := os.ReadFile("testdata/answer.golden")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(golden[:len(golden)-1])
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var a answer
		err := a.parseBody(b)
		if err != nil && !errors.Is(err, errAnswer) {
			t.Fatal(err)
		}
		if err == nil && !bytes.Equal(append(appendSpans(nil, a.spans), a.text...), b) {
			t.Errorf("%q is read as %v and %q", b, a.spans, a.text)
		}
	})
}
