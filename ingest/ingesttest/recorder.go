// Package ingesttest has what the tests of all inputs need.
package ingesttest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/internal/wire"
)

// ErrForget makes a Recorder acknowledge a batch and record nothing.
var ErrForget = errors.New("forget")

// Recorder is an Appender that records batches, or does what Outcome returns.
type Recorder struct {
	Outcome func(ctx context.Context, b wire.Batch) error // may be nil; nil or ErrForget acknowledge

	mu      sync.Mutex
	batches []wire.Batch
	text    bytes.Buffer
	changed chan struct{}
}

// NewRecorder returns an empty Recorder.
func NewRecorder() *Recorder { return &Recorder{changed: make(chan struct{})} }

// Append implements wire.Appender.
func (r *Recorder) Append(ctx context.Context, b wire.Batch) error {
	if r.Outcome != nil {
		if err := r.Outcome(ctx, b); err != nil {
			if err == ErrForget {
				return nil
			}
			return err
		}
	}
	if err := b.Check(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Write(b.Text)
	b.Text, b.Cuts, b.Marks = bytes.Clone(b.Text), slices.Clone(b.Cuts), slices.Clone(b.Marks)
	r.batches = append(r.batches, b)
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// Wait returns what was recorded as soon as done reports true for it.
func (r *Recorder) Wait(t testing.TB, done func(text string, batches []wire.Batch) bool) (string, []wire.Batch) {
	t.Helper()
	late := time.After(waittest.Limit)
	for {
		r.mu.Lock()
		text, batches, changed := r.text.String(), r.batches, r.changed
		r.mu.Unlock()
		if done(text, batches) {
			return text, batches
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("waited %v in vain: %d bytes are recorded in %d batches: %.200q",
				waittest.Limit, len(text), len(batches), text)
		}
	}
}

// WaitText waits until the recorded text is as long as want, and fails if it differs.
func (r *Recorder) WaitText(t testing.TB, want string) []wire.Batch {
	t.Helper()
	_, batches := r.Wait(t, func(text string, _ []wire.Batch) bool { return len(text) >= len(want) })
	if got := r.Text(); got != want {
		t.Fatalf("recorded are %d bytes %.300q, want %d bytes %.300q", len(got), got, len(want), want)
	}
	return batches
}

// Text returns the text recorded until now.
func (r *Recorder) Text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
