package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/waittest"
)

// waiting is an agent's settings whose collector is not there.
func waiting(t *testing.T, state string) *settings {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.log")
	s, err := (&options{to: "tcp://127.0.0.1:1", id: "web-1", state: state}).load([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStateDeleted: an agent whose state directory is deleted makes it again while it
// runs: the lock, who it is, and the socket.
func TestStateDeleted(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, waiting(t, state), nil) }() // ends by stop
	instance := filepath.Join(state, "instance")
	answers := func() bool { st, err := askStatus(state); return err == nil && st.ID == "web-1" }
	waittest.Until(t, "the agent", answers)
	want, err := os.ReadFile(instance)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", controlName, "instance", "lock"} {
		for os.RemoveAll(filepath.Join(state, name)) != nil { // it is being made again already
		}
		waittest.Until(t, "all of it", func() bool {
			b, err := os.ReadFile(instance)
			return err == nil && string(b) == string(want) && answers() && disk.Locked(filepath.Join(state, "lock")) != nil
		})
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestStateTaken: a state that another agent has made meanwhile is left alone.
func TestStateTaken(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	a, err := newAgent(waiting(t, state))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	other, err := newAgent(waiting(t, state))
	if err != nil {
		t.Fatal(err)
	}
	defer other.lock.Close()
	want, err := os.ReadFile(other.instancePath())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.follow(context.Background()); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("the agent went on: %v", err)
	}
	if got, err := os.ReadFile(other.instancePath()); err != nil || string(got) != string(want) {
		t.Errorf("the other agent's state was changed: %q, %v", got, err)
	}
}

// TestStateDeletedJustNow: a state that was complete a moment ago is made again at the next look, before anything
// is written to it.
func TestStateDeletedJustNow(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	a, err := newAgent(waiting(t, state))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { a.lock.Close() }()
	a.keepState()
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	a.keepState()
	if _, err := os.Stat(a.instancePath()); err != nil || !a.lock.InPlace() {
		t.Errorf("the state is not there: %v", err)
	}
}
