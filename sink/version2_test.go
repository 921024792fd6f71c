package sink

import (
	"context"
	"os"
	"testing"

	"fanin/internal/wire"
)

// A state of version 2 from before there were keys and extensions, killed in the
// middle of a write, opens with every watermark and remembers keys from now on.
func TestStateBeforeKeys(t *testing.T) {
	path, streams := unpackState(t, 2, syncCommit)
	if err := os.Truncate(path, 50); err != nil { // the rest is in the write-ahead log
		t.Fatal(err)
	}
	s := open(t, &Sink{Path: path})
	expectLines(t, s, "one", "two", "three", "four")
	known := welcomed(s, "a").Streams
	if len(known) != 1 || known[0].Offset != streams[0].Offset || known[0].Tail != streams[0].Tail {
		t.Errorf("agent a has %+v, want %+v", known, streams)
	}
	if n := len(s.view.catalog.streams); n != 2 {
		t.Errorf("%d streams, want that one and a lossy one", n)
	}
	if n, _ := s.keysNow(); n != 0 || len(s.Extensions(testKind)) > 0 {
		t.Errorf("%d keys, extensions %q", n, s.Extensions(testKind))
	}
	r := keyRequest("a", 2)
	r.Batches[0].Extensions = []wire.Extension{set("a", "1")}
	appendKey(t, s, r, written)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	s = open(t, &Sink{Path: path})
	appendKey(t, s, r, again)
	remembers(t, s, testKind, "a", "1")
	verified(t, s)
}
