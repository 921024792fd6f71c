package livetail

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestEventReader: each field of an event, several lines of data, empty data, comments,
// and an event that only reports a position.
func TestEventReader(t *testing.T) {
	body := ": fanin tail from 1:0\n\n" +
		"id: 1:5\ndata: one\n\n" +
		"id: 1:9\ndata: a\ndata:\ndata:b\n\n" +
		"data:\n\n" +
		"id: 2:0\n\n" +
		"event: end\ndata:\n\n" +
		"id: 3:0\ndata: cut off"
	want := []string{`|| nil`, `|1:5| "one"`, `|1:9| "a\n\nb"`, `|| ""`, `|2:0| nil`, `end|| ""`}
	r := NewEventReader(strings.NewReader(body))
	for i, want := range want {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		data := "nil"
		if e.Data != nil {
			data = fmt.Sprintf("%q", e.Data)
		}
		if got := fmt.Sprintf("%s|%s| %s", e.Kind, e.ID, data); got != want {
			t.Errorf("event %d is %s, want %s", i, got, want)
		}
		if i == 0 && !r.Buffered() {
			t.Error("nothing is buffered, and the whole body was received")
		}
	}
	if e, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("an event that is cut off is read as %+v, %v", e, err)
	}
}
