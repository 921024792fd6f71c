package sink

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// streamV1 is a stream as version 1 knew it when it was killed: what
// testdata/state-v1-*.tar.gz says beside the log.
type streamV1 struct {
	Agent, Host, Source, Identity string
	Stream                        string
	Epoch                         uint32
	Offset                        int64
	Tail                          wire.Hash
	Lossy                         bool
	Lines                         int64
}

// unpackV1 unpacks a log that version 1 left when it was killed in the middle of
// a write, and makes its checkpoint name the file that was unpacked.
func unpackV1(t *testing.T, mode string) (path string, streams []streamV1) {
	t.Helper()
	return unpackState(t, 1, mode)
}

// unpackState unpacks a log with the state that a version left in a mode.
func unpackState(t *testing.T, version int, mode string) (path string, streams []streamV1) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(filepath.Join("testdata", fmt.Sprintf("state-v%d-%s.tar.gz", version, mode)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o750)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, b, 0o640)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, "all.log")
	b, err := os.ReadFile(filepath.Join(dir, "streams.json"))
	if err == nil {
		err = json.Unmarshal(b, &streams)
	}
	if err != nil {
		t.Fatal(err)
	}
	nameFile(t, path, version)
	return path, streams
}

// nameFile makes both checkpoints name the inode of the live file, and this run of
// the machine.
func nameFile(t *testing.T, path string, version int) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(StateDir(path), checkpointName)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(b); at += blockSize {
		s, err := decodeCheckpoint(b[at : at+blockSize])
		if err != nil {
			continue
		}
		if s.Version != version {
			t.Fatalf("the fixture has version %d", s.Version)
		}
		s.Inode, s.Boot = disk.Inode(fi), disk.BootID()
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		copy(b[at:], again)
	}
	if err := os.WriteFile(name, b, 0o640); err != nil {
		t.Fatal(err)
	}
}

// A state directory of version 1, killed in the middle of a write, opens with
// every watermark, goes on in the same streams, and is whole.
func TestStateOfVersion1(t *testing.T) {
	for _, mode := range []string{syncCommit, syncNone} {
		t.Run(mode, func(t *testing.T) {
			path, streams := unpackV1(t, mode)
			s := open(t, &Sink{Path: path, Sync: mode, env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}})
			if len(streams) != 5 || len(s.view.catalog.streams) != len(streams) {
				t.Fatalf("%d streams, want %d", len(s.view.catalog.streams), len(streams))
			}
			for round := range 2 {
				for _, want := range streams {
					expectV1(t, s, want)
				}
				if got := logText(t, s); strings.Count(got, "acknowledged, and torn in the file\n") != 1 {
					t.Errorf("round %d: the last acknowledged line is not in the log once:\n%s", round, got)
				}
				continueV1(t, s, &streams[0])
				if err := s.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
				if r, err := Verify(context.Background(), path, ""); err != nil || !r.OK() {
					t.Fatalf("verify: %v %q", err, r.Problems)
				}
				s = open(t, &Sink{Path: path, Sync: mode, env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}})
			}
		})
	}
}

func expectV1(t *testing.T, s *Sink, want streamV1) {
	t.Helper()
	own, err := wire.ParseStreamID(want.Stream)
	if err != nil {
		t.Fatal(err)
	}
	kind := kindOfVersion1(want.Lossy, want.Agent)
	st := s.view.catalog.streams[s.view.catalog.id(kind, want.Agent, own)]
	if st == nil {
		t.Fatalf("stream %s of %s is not known any more", want.Stream, want.Agent)
	}
	n := st.names()
	got := streamV1{n.agent, n.host, n.source, n.identity, n.own.String(), st.Epoch, st.Offset, st.Tail, st.lossy(), st.lines}
	if got != want || n.kind != kind {
		t.Errorf("stands at %+v, want %+v", got, want)
	}
	if other := s.view.catalog.streams[s.view.catalog.id(kind, "another", own)]; other != nil {
		t.Errorf("another agent has the stream %s, too", want.Stream)
	}
}

// continueV1 appends to a stream that version 1 began.
func continueV1(t *testing.T, s *Sink, st *streamV1) {
	t.Helper()
	own, _ := wire.ParseStreamID(st.Stream)
	b := wire.Batch{Stream: own, Epoch: st.Epoch, Offset: st.Offset, End: st.Offset + 5, Before: st.Tail, After: st.Tail + 1,
		Agent: st.Agent, Host: st.Host, Input: "agent", Text: []byte("more\n")}
	if err := s.Append(context.Background(), b); err != nil {
		t.Fatalf("the stream does not go on: %v", err)
	}
	st.Offset, st.Tail = b.End, b.After
}

// Frames and tables of version 1 are what its golden files hold.
func TestFormatsOfVersion1(t *testing.T) {
	f, n, err := parseFrame(golden(t, "frame-v1"))
	if err != nil || n != len(golden(t, "frame-v1")) {
		t.Fatal(n, err)
	}
	if want := (names{agent: "web-1", host: "web01", source: "nginx", identity: "\x01\x02\x03"}); len(f.names) != 1 || f.names[0] != want {
		t.Errorf("read as %+v, want %+v", f.names, want)
	}
	c := newCatalog()
	if _, err := c.load(golden(t, "table-v1")); err != nil {
		t.Fatal(err)
	}
	st := c.streams[c.id(wire.StreamAgent, "web-1", idOf(0x10))]
	if st == nil || st.Offset != 70000 || st.Epoch != 2 || len(st.Trail) != 1 || st.names().host != "web01" {
		t.Errorf("read as %+v", st)
	}
}

// What only a later release can read is refused, not taken for a torn end.
func TestFrameOfALaterRelease(t *testing.T) {
	for _, extension := range []string{
		"e",                                    // shorter than any entry
		"\x10\x00\x05\x00\x00\x00\x00\x00name", // a name that ends early
		"\x10\x00\x00\x00\x05\x00\x00\x00four", // a value that ends early
		"\x02\x00\x01\x00\x01\x00\x00\x00nv",   // an unknown kind of the sink's own
		"\x01\x00\x01\x00\x00\x00\x00\x00n",    // a key that is no stream's
		keyExtension(16, 1),
		keyExtension(17, 2),
		keyExtension(18, 1),
	} {
		b := golden(t, "frame")
		head := len(b) - len(goldenFrame().text)
		b = append(b[:head:head], append([]byte(extension), b[head:]...)...)
		head += len(extension)
		binary.LittleEndian.PutUint32(b[60:], uint32(len(extension)))
		binary.LittleEndian.PutUint32(b[4:], disk.Checksum(b[8:head]))
		ring := make([]byte, 4*blockSize)
		copy(ring, b)
		r := &walReader{f: strings.NewReader(string(ring)), path: "wal", size: int64(len(ring)), epoch: goldenFrame().walEpoch, lsn: goldenFrame().lsn - 1}
		var damaged *DamagedError
		if _, err := r.next(); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "a later release") {
			t.Errorf("%q: %v", extension, err)
		}
		r.epoch++
		if f, err := r.next(); f != nil || err != nil {
			t.Errorf("%q of another life: %v, %v", extension, f, err)
		}
	}
	if _, err := decodeCheckpoint(slotOfVersion(t, slotVersion+1)); err == nil || !strings.Contains(err.Error(), "install the release") {
		t.Errorf("a checkpoint of a later version: %v", err)
	}
}

// keyExtension opens a key with a value of n bytes, of which byte 16 is flags.
func keyExtension(n int, flags byte) string {
	value := make([]byte, n)
	if n > 16 {
		value[16] = flags
	}
	x := extension{extensionKey, string(idBytes(1)), string(value)}
	return string(x.append(nil))
}

func slotOfVersion(t *testing.T, version int) []byte {
	b, err := (&checkpointSlot{Version: version}).encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
