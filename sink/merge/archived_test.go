package merge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/depot"
)

// archived makes a log of three files with three lines each, and returns it as it is in an archive.
func archived(t *testing.T) *Archived {
	t.Helper()
	place := depot.Place{Dir: t.TempDir()}
	s := &sink.Sink{Path: filepath.Join(t.TempDir(), "all.log"), Format: "raw", Sync: "none"}
	c, err := depot.New(s, t.TempDir(), place, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	for i := range 9 {
		b := wire.Batch{Input: "tcp", Host: "web", Source: "app", Time: int64(1000 + i), Text: fmt.Appendf(nil, "line %d\n", i)}
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if i%3 == 2 {
			if _, err := s.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	go c.Run(ctx) // ends with the test
	t.Cleanup(stop)
	waittest.Until(t, "the archive", func() bool { return c.Before() == 4 })
	d, err := depot.Open(place)
	if err != nil {
		t.Fatal(err)
	}
	files, err := d.Log(t.Context(), s.LogID().String())
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return &Archived{d, files}
}

// partitionText is all that a partition has from a place on, with what is gone in brackets, and the times of its
// spans.
func partitionText(t *testing.T, from Place, tenures []Tenure) (text string, times []int64) {
	t.Helper()
	p, err := NewPartition(t.Context(), from, tenures)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for {
		b, at, err := p.Read(t.Context(), make([]byte, 16))
		var gone *sink.GoneError
		switch {
		case errors.As(err, &gone):
			text += fmt.Sprintf("[%s-%s]", gone.From, gone.To)
			continue
		case err != nil:
			t.Fatal(err)
		case len(b) == 0:
			return text, times
		}
		spans, err := p.Spans(nil, b, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range spans {
			times = append(times, s.Time)
		}
		text += strings.NewReplacer("line ", "", "\n", "").Replace(string(b))
	}
}

// TestArchived: a log in an archive is read as one on a disk, from any position; a file that is missing is a gap.
func TestArchived(t *testing.T) {
	a := archived(t)
	at := func(generation uint64, offset int64) sink.Position {
		return sink.Position{Generation: generation, Offset: offset}
	}
	all := []Tenure{{Epoch: 1, Log: a}}
	text, times := partitionText(t, Place{}, all)
	if want := []int64{1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008}; text != "012345678" || !slices.Equal(times, want) {
		t.Errorf("%s at %v", text, times)
	}
	if text, _ := partitionText(t, Place{Epoch: 1, At: at(2, 7)}, all); text != "45678" {
		t.Errorf("from a position: %s", text)
	}
	if at, err := Since(t.Context(), 0, all, time.Now().Add(time.Hour)); err != nil || at.At != a.Files[2].End() {
		t.Errorf("since a time that is to come: %v, %v", at, err)
	}
	gap := &Archived{a.Depot, slices.Delete(slices.Clone(a.Files), 1, 2)}
	if text, _ := partitionText(t, Place{}, []Tenure{{Epoch: 1, Log: gap}}); text != "012[2:0-3:0]678" {
		t.Errorf("with a gap: %s", text)
	}
	if u := gap.Files.Until(); u != at(2, 0) || gap.Files.Has(at(3, 1)) || !gap.Files.Has(at(1, 21)) {
		t.Errorf("it is there until %v", u)
	}
}

// TestShifted: a log that continues another one of the same epoch has its positions behind that one's.
func TestShifted(t *testing.T) {
	lost, made := archived(t), archived(t)
	s := Shifted{made, 2}
	tenures := []Tenure{{Epoch: 5, Log: lost, To: lost.Files[1].End()},
		{Epoch: 5, Log: s, From: s.Shift(sink.Position{Generation: 1, Offset: 7}), To: s.Shift(sink.Position{Generation: 2, Offset: 14})},
		{Epoch: 9, Log: lost, From: sink.Position{Generation: 3}}}
	if text, _ := partitionText(t, Place{}, tenures); text != "012345"+"1234"+"678" {
		t.Errorf("all: %s", text)
	}
	for _, x := range []struct{ at, want string }{
		{"0@5:2:7", "45" + "1234" + "678"}, {"0@5:2:21", "1234" + "678"}, {"0@5:3:14", "234" + "678"}, {"0@5:4:7", "4" + "678"}, {"0@9:3:7", "78"},
	} {
		at, err := ParsePlaces(x.at)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := partitionText(t, at[0], tenures); text != x.want {
			t.Errorf("from %s: %s, want %s", x.at, text, x.want)
		}
	}
}
