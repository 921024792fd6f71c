package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/waittest"
	"fanin/internal/wire"
	"fanin/sink/archive"
)

// states are the generations' states, oldest first.
func states(s *Sink) string {
	var list []string
	for _, g := range s.Status().Generations {
		list = append(list, g.State)
	}
	return strings.Join(list, " ")
}

// rotated makes a log of n rotated files, each of one line of its own and some weight.
func rotated(t *testing.T, s *Sink, n int) (lines []string) {
	t.Helper()
	src := newSource()
	for i := range n {
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", 1000))
		src.send(t, s, line)
		if _, err := s.Rotate(context.Background()); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestCompression(t *testing.T) {
	s := open(t, &Sink{})
	rotated(t, s, 4)
	// The newest rotated file stays plain: a reader may still be in it.
	waittest.Until(t, "compression", func() bool { return states(s) == "gzip gzip gzip plain live" })
	for _, g := range s.Status().Generations[:3] {
		path := filepath.Join(filepath.Dir(s.Path), g.Name)
		out, err := exec.Command("zcat", path).Output()
		if err != nil || int64(len(out)) != g.Size || !strings.Contains(string(out), " web app: line ") {
			t.Errorf("zcat %s: %d bytes, %v; want %d", g.Name, len(out), err, g.Size)
		}
		// It is removed after the catalog has the archive durably.
		waittest.Until(t, "the removal of the file beside its archive", func() bool { return !exists(strings.TrimSuffix(path, ".gz")) })
	}
	s.Checkpoint(context.Background())
	r, err := Verify(context.Background(), s.Path, "")
	if err != nil || !r.OK() || r.Lines != 4 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

// TestCompressionCutOff: whatever an interrupted compression leaves, the next
// start makes one file of it, with every line.
func TestCompressionCutOff(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	rotated(t, s, 3)
	s.Close(context.Background())
	old := filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name)
	if _, err := archive.Compress(context.Background(), nil, old, 0o640, nil); err != nil { // done, and the catalog does not say so
		t.Fatal(err)
	}
	os.WriteFile(archive.TempName(old), []byte("another half"), 0o640)
	s = open(t, &Sink{Path: s.Path})
	waittest.Until(t, "compression", func() bool { return states(s) == "gzip gzip plain live" })
	if _, err := os.Stat(archive.TempName(old)); err == nil {
		t.Error("the half archive is still there")
	}
	r, err := Verify(context.Background(), s.Path, "")
	if err != nil || !r.OK() || r.Lines != 3 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

// A file of others that has the name an archive would get is not touched, and
// keeps only that one file from being compressed.
func TestArchiveNameTaken(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	rotated(t, s, 3)
	s.Close(context.Background())
	path := filepath.Join(filepath.Dir(s.Path), s.Status().Generations[0].Name+".gz")
	os.WriteFile(path, []byte("of others"), 0o640)
	s = open(t, &Sink{Path: s.Path})
	waittest.Until(t, "compression", func() bool { return states(s) == "plain gzip plain live" })
	if b, err := os.ReadFile(path); err != nil || string(b) != "of others" {
		t.Errorf("the file of others now is %q, %v", b, err)
	}
	if s.counts.upkeep.errors.Load() != 1 {
		t.Errorf("counted %d times", s.counts.upkeep.errors.Load())
	}
}

func TestRetention(t *testing.T) {
	f := func(name string, change func(*Sink), want string) {
		t.Helper()
		s := &Sink{Retention: RetentionPolicy{Compress: "none"}}
		change(s)
		open(t, s)
		rotated(t, s, 5)
		s.janitor.wakeUp()
		waittest.Until(t, name, func() bool { return states(s) == want })
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(s.Path), "all-*.log"))
		ledgers, _ := filepath.Glob(filepath.Join(s.State, "ledger-*"))
		if n := strings.Count(want, "plain"); len(files) != n || len(ledgers) > n+1 {
			t.Errorf("%s: %d files and %d ledgers are left of %q", name, len(files), len(ledgers), want)
		}
		s.Checkpoint(context.Background())
		if r, err := Verify(context.Background(), s.Path, ""); err != nil || !r.OK() {
			t.Errorf("%s: verify: %q, %v", name, r.Problems, err)
		}
	}
	f("count", func(s *Sink) { s.Retention.Files = 2 }, "plain plain live")
	f("bytes", func(s *Sink) { s.Retention.Bytes = 3500 }, "plain plain plain live")
	f("nothing", func(s *Sink) { s.Retention.Bytes = -1 }, "plain plain plain plain plain live")
	f("age", func(s *Sink) { s.Retention.Age = time.Nanosecond }, "live")
}

// TestRetentionBetweenFiles: while many files wait to be compressed, retention acts after each.
func TestRetentionBetweenFiles(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	rotated(t, s, 5)
	s.Close(context.Background())
	again := &Sink{Path: s.Path}
	again.Disk = &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
		if op == disk.OpWrite && archive.IsTemp(filepath.Base(path)) {
			again.janitor.retention.Store(&RetentionPolicy{Compress: "gzip", Files: 1}) // there are too many files by now
		}
		return 0, nil
	}}
	open(t, again)
	waittest.Until(t, "retention", func() bool { return states(again) == "plain live" })
	if n := again.counts.upkeep.compressed.Load(); n != 1 {
		t.Errorf("%d files were compressed before, want 1", n)
	}
}

// TestDirectoryNotListed: a directory that cannot be listed is no reason to take a file for one that is gone.
func TestDirectoryNotListed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	m := &mover{path: filepath.Join(dir, "all.log")}
	if name, err := m.find(1); err == nil {
		t.Errorf("found %q", name)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if name, err := m.find(1); name != "" || err != nil {
		t.Errorf("in an empty directory: %q, %v", name, err)
	}
}

// TestClockGuard: age removes nothing for a day after the clock jumped.
// TestHold: files that a reader needs stay beyond what retention says, within
// their own bounds, and the reader is told before one goes.
func TestHold(t *testing.T) {
	for _, c := range []struct {
		name        string
		bytes       int64
		age         time.Duration
		needed      uint64 // generation
		left, first int    // rotated files, and the number of the oldest
	}{
		{"all are needed", 1 << 30, 0, 1, 6, 1},
		{"some are", 1 << 30, 0, 4, 3, 4},
		{"not for so many bytes", 3500, 0, 1, 3, 4},
		{"not for so long", 1 << 30, time.Nanosecond, 1, 1, 6},
		{"off", 0, 0, 1, 1, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			var gone atomic.Int64
			s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none", Files: 1, HoldBytes: c.bytes, HoldAge: c.age}})
			s.SetConsumers(Consumers{
				Needed: func() (Position, bool) { return Position{Generation: c.needed}, true },
				Expire: func(_ context.Context, g, next Generation) error {
					if next.Number != g.Number+1 || int64(g.Number) != gone.Load()+1 {
						t.Errorf("generation %d goes before %d, behind %d", g.Number, next.Number, gone.Load())
					}
					gone.Store(int64(g.Number))
					return nil
				},
			})
			rotated(t, s, 6)
			waittest.Until(t, "retention", func() bool { return len(s.Status().Generations) == c.left+1 })
			s.janitor.stop()
			if err := s.janitor.pass(t.Context(), time.Now()); err != nil { // it removes no more
				t.Fatal(err)
			}
			all := s.Status().Generations
			if len(all) != c.left+1 || all[0].Number != uint64(c.first) || gone.Load() != int64(c.first-1) {
				t.Errorf("left are %+v; the reader was told of %d", all, gone.Load())
			}
		})
	}
}

// TestAwaitConsumers: until the consumers are registered, it is not known what they
// need, so no file is removed whatever the log weighs.
func TestAwaitConsumers(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none", Files: 1, Bytes: 1, HoldBytes: 1, AwaitConsumers: true}})
	rotated(t, s, 3)
	s.janitor.stop()
	if err := s.janitor.pass(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := states(s); got != "plain plain plain live" {
		t.Errorf("before there are consumers: %s", got)
	}
	s.SetConsumers(Consumers{})
	if err := s.janitor.pass(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := states(s); got != "live" {
		t.Errorf("with consumers that need nothing: %s", got)
	}
}

func TestClockGuard(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	now := time.Now()
	g := newClockGuard(now.Add(-hour), now)
	if g.observe(now.Add(hour), hour); !g.trusted() {
		t.Error("a clock that ran on is not trusted")
	}
	for _, jump := range []time.Duration{3650 * day, -365 * day} {
		g := newClockGuard(now, now)
		g.observe(now.Add(jump), hour)
		if g.observe(now.Add(jump+23*hour), 24*hour); g.trusted() {
			t.Errorf("trusted 23 hours after a jump of %v", jump)
		}
		if g.observe(now.Add(jump+25*hour), 26*hour); !g.trusted() {
			t.Errorf("not trusted a day after a jump of %v", jump)
		}
	}
	g = newClockGuard(now.Add(-365*day), now)
	if g.trusted() {
		t.Error("trusted after a year in which it did not run")
	}
	if g.observe(now.Add(25*hour), 25*hour); !g.trusted() {
		t.Error("not trusted after a day")
	}
}

// TestUse: other policies are in force at once, for what comes and for what is there.
func TestUse(t *testing.T) {
	s := open(t, &Sink{Retention: RetentionPolicy{Compress: "none"}})
	rotated(t, s, 5)
	use := func(p Policies) {
		t.Helper()
		p.Retention.Compress = "none"
		if err := s.Use(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	use(Policies{Retention: RetentionPolicy{Files: 2}})
	waittest.UntilEqual(t, "files that are kept", "plain plain live", func() string { return states(s) })
	use(Policies{Rotation: RotationPolicy{Size: 1000}})
	src := newSource()
	for range 3 {
		src.send(t, s, strings.Repeat("y", 600))
	}
	if n := s.counts.rotations.bySize.Load(); n < 2 {
		t.Errorf("%d rotations by the new size", n)
	}
	use(Policies{Limits: Limits{StreamsPerAgent: 1}})
	var refused *wire.Refused
	if err := s.Append(t.Context(), wire.Batch{Op: wire.OpOpen, Stream: wire.NewStreamID(), Epoch: 1, Agent: "a"}); !errors.As(err, &refused) {
		t.Errorf("another stream of the agent: %v, want that the new limit refuses it", err)
	}
}

func TestNextRotation(t *testing.T) {
	at := func(s string) time.Time { v, _ := time.Parse(time.RFC3339, s); return v }
	f := func(opened string, every, after time.Duration, set bool, want string) {
		t.Helper()
		if got := nextRotation(at(opened), every, after, set); !got.Equal(at(want)) {
			t.Errorf("opened %s: next at %s, want %s", opened, got.Format(time.RFC3339), want)
		}
	}
	f("2026-11-22T17:00:00Z", 24*time.Hour, 0, false, "2026-11-23T17:00:00Z")
	f("2026-11-22T17:00:00Z", 24*time.Hour, 0, true, "2026-11-23T00:00:00Z")
	f("2026-11-22T17:00:00Z", 24*time.Hour, 18*time.Hour, true, "2026-11-22T18:00:00Z")
	f("2026-11-22T18:00:00Z", 24*time.Hour, 18*time.Hour, true, "2026-11-23T18:00:00Z")
	f("2026-11-22T17:00:00Z", 6*time.Hour, 0, true, "2026-11-22T18:00:00Z")
}

func TestRotateByTimeAndSize(t *testing.T) {
	s := open(t, &Sink{Rotation: RotationPolicy{Every: 50 * time.Millisecond}, Retention: RetentionPolicy{Compress: "none"}})
	newSource().send(t, s, "one")
	waittest.Until(t, "a rotation", func() bool { return s.counts.rotations.byTime.Load() == 1 })
	s = open(t, &Sink{Rotation: RotationPolicy{Size: 5000}, Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	var want []string
	for i := range 100 {
		line := fmt.Sprint("line ", i, strings.Repeat("y", 100))
		src.send(t, s, line)
		want = append(want, line)
	}
	expectLines(t, s, want...)
	for _, g := range s.Status().Generations {
		if g.Size > 5000 {
			t.Errorf("generation %d has %d bytes", g.Number, g.Size)
		}
	}
	if n := s.counts.rotations.bySize.Load(); n < 2 {
		t.Errorf("%d rotations", n)
	}
}

func TestRepair(t *testing.T) {
	s := &Sink{Path: filepath.Join(t.TempDir(), "all.log"), env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}}
	src := newSource()
	crashBeforeFile(t, s, src)
	ctx := context.Background()
	if did, err := Repair(ctx, s.Path, ""); err != nil || len(did) != 1 {
		t.Fatalf("nothing is damaged: %q, %v", did, err)
	}
	b, _ := os.ReadFile(filepath.Join(s.State, checkpointName))
	for i := range b {
		b[i] ^= 0xff
	}
	os.WriteFile(filepath.Join(s.State, checkpointName), b, 0o640)
	again := &Sink{Path: s.Path, Retention: RetentionPolicy{Compress: "none"}}
	if err := again.Open(ctx); err == nil || !strings.Contains(err.Error(), "fanin-collector repair") {
		t.Fatalf("opened on a damaged checkpoint: %v", err)
	}
	did, err := Repair(ctx, s.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	rescued, _ := filepath.Glob(s.Path + ".rescued-*")
	if len(rescued) != 1 {
		t.Fatalf("nothing was rescued: %q", did)
	}
	if text, _ := os.ReadFile(rescued[0]); !strings.Contains(string(text), "web app: three\n") {
		t.Errorf("rescued %q", text)
	}
	s = open(t, &Sink{Path: s.Path, Retention: RetentionPolicy{Compress: "none"}})
	expectLines(t, s, "one", "two")
}

// TestRepairAfterRestarts: the frames that are rescued are the last ones, of however
// many lives the ring holds frames.
func TestRepairAfterRestarts(t *testing.T) {
	s := open(t, &Sink{env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}})
	src := newSource()
	for i := range 20 {
		src.send(t, s, fmt.Sprint("early ", i))
	}
	s.Close(context.Background())
	s = &Sink{Path: s.Path, env: environment{walSize: 1 << 20}, Retention: RetentionPolicy{Compress: "none"}}
	crashBeforeFile(t, s, src)
	if err := os.WriteFile(filepath.Join(s.State, checkpointName), []byte(strings.Repeat("x", 2*blockSize)), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Repair(context.Background(), s.Path, ""); err != nil {
		t.Fatal(err)
	}
	rescued, _ := filepath.Glob(s.Path + ".rescued-*")
	if len(rescued) != 1 {
		t.Fatal("nothing was rescued")
	}
	if text, err := os.ReadFile(rescued[0]); err != nil || !strings.Contains(string(text), "web app: three\n") || strings.Contains(string(text), "early") {
		t.Errorf("rescued %q, %v", text, err)
	}
}

// TestFoundArchives: archives that are found without state are read to their end.
func TestFoundArchives(t *testing.T) {
	s := open(t, &Sink{})
	want := rotated(t, s, 4)
	waittest.Until(t, "compression", func() bool { return states(s) == "gzip gzip gzip plain live" })
	s.Close(context.Background())
	if err := os.RemoveAll(s.State); err != nil {
		t.Fatal(err)
	}
	s = open(t, &Sink{Path: s.Path})
	r := s.Reader(Position{})
	defer r.Close()
	for _, line := range want {
		text, _, err := r.Read(context.Background(), make([]byte, 64<<10))
		if err != nil || !strings.HasSuffix(string(text), " "+line+"\n") {
			t.Fatalf("read %q, %v; want %.20s", text, err, line)
		}
	}
}

// TestNothingIsDoneAfterClose: what was not done because the writer has ended is not taken for done, or the
// janitor would remove a file that the catalog goes on to name.
func TestNothingIsDoneAfterClose(t *testing.T) {
	s := open(t, &Sink{})
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 100 { // the channels that say so are closed together
		if err := s.do(context.Background(), func(*writer) error { return nil }); !errors.Is(err, wire.ErrDraining) {
			t.Fatalf("a change after the end: %v", err)
		}
	}
}
