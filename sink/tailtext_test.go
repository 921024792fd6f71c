package sink

import (
	"context"
	"os"
	"strings"
	"testing"
)

// While the live file is being renamed, its lines are not gone.
func TestTailTextInRotation(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	src.send(t, s, "one", "two")
	expectLines(t, s, "one", "two")
	at := s.End()
	want, err := s.TailText(t.Context(), at)
	must(t, err, os.Rename(s.Path, strings.TrimSuffix(s.Path, ".log")+"-2026-11-25T00-00-00.000.log"))
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() { // ends with the answer
		text, err := s.TailText(context.Background(), at)
		got <- answer{text, err}
	}()
	src.send(t, s, "three") // the writer notices
	if a := <-got; a.err != nil || string(a.text) != string(want) {
		t.Errorf("before %s is %q, %v; want %q", at, a.text, a.err, want)
	}
}
