package distribute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// TestStateDeleted: the cursors are written again when the state directory is deleted, or
// their directory in it while no group has work to do. A kill after that loses nothing that
// was accepted.
func TestStateDeleted(t *testing.T) {
	for _, idle := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "all.log")
		b := open(t, path, &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
		b.putMany(0, 100)
		c := b.raw(protocol.Hello{Group: "g", From: "start"})
		f := c.hear(protocol.KindLines)
		c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 0, To: 10})
		c.hear(protocol.KindAccepted)
		g := b.dist.groups.get("g")
		b.wait("rest", func() bool { // all is saved, and nothing moves by itself
			g.mu.Lock()
			defer g.mu.Unlock()
			return !g.dirty
		})
		work := filepath.Join(sink.StateDir(path), workDir)
		deleted, accepted, notices := work, uint64(10), uint64(0)
		if !idle {
			deleted, notices = filepath.Dir(work), 1 // of which the log says a line
		}
		if err := os.RemoveAll(deleted); err != nil {
			t.Fatal(err)
		}
		if !idle {
			c.say(protocol.Frame{Kind: protocol.KindAck, N: f.N, From: 10, To: 30})
			c.hear(protocol.KindAccepted)
			accepted = 30
		}
		b.wait("the files", func() bool {
			for _, name := range []string{"cursors-0", "cursors-1"} {
				if text, err := os.ReadFile(filepath.Join(work, name)); err == nil {
					if _, ok := checkCursors(text); ok {
						return true
					}
				}
			}
			return false
		})
		left := copyDir(t, work) // what a kill leaves
		b.down()
		if err := os.RemoveAll(work); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(left, work); err != nil {
			t.Fatal(err)
		}
		b = open(t, path, &sink.Sink{Sync: "commit", Retention: sink.RetentionPolicy{Compress: "none"}}, Settings{})
		if g := b.group("g"); g.Accepted != accepted || g.LagLines != 100-accepted+notices {
			t.Errorf("idle %v: after a start: %+v", idle, g)
		}
		b.down()
	}
}

// TestDeadLettersDeleted: a deleted file of dead letters is created again, without a hole
// where it ended before, and with the log's mode.
func TestDeadLettersDeleted(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "all.log"), &sink.Sink{Sync: "none", Retention: sink.RetentionPolicy{Compress: "none"}, Modes: sink.FileModes{File: 0o666}}, Settings{Attempts: 1})
	b.work(&worker.Worker{Options: protocol.Hello{Group: "g", From: "start"}, Handle: func(context.Context, *worker.Delivery) error { return errors.New("no") }})
	path := filepath.Join(sink.StateDir(b.sink.Path), workDir, "dead-g.jsonl")
	for i := range 2 {
		b.putMany(i, i+1)
		b.wait("a dead letter", func() bool { return b.group("g").Dead == uint64(i+1) })
		text, err := os.ReadFile(path)
		if err != nil || !json.Valid(text) || bytes.Count(text, []byte{'\n'}) != 1 {
			t.Fatalf("letter %d: %q, %v", i, text, err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != b.sink.Modes.File {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
