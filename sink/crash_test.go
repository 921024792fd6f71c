package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fanin/internal/disk/disktest"
	"fanin/internal/lines"
	"fanin/internal/wire"
)

var errCrash = errors.New("the machine stopped")

// life is a log on a disk that forgets, through all its crashes, with an agent
// that sends to it.
type life struct {
	*testing.T
	where       string
	disk        *disktest.Disk
	mode        string // sink.Sync
	cut         bool   // a crash cuts the power; else it is a kill -9
	held        bool   // a reader, which was given nothing yet, needs all
	mayFail     bool   // before the disk has stopped
	boot        string // of the machine
	apart       bool   // the state is not beside the log
	keepAll     bool   // retention leaves every file
	keys        KeyLimits
	src         *source       // its text is what was acknowledged
	lines       int           // of it
	sent        []byte        // and what may or may not be kept besides
	incarnation wire.StreamID // as the agent was told
	alive       func()
	said        bytes.Buffer    // by the log, on stderr
	expired     map[uint64]bool // generations that the reader was told are about to go
}

// keptFiles is how many rotated files retention leaves.
const keptFiles = 2

func newLife(t *testing.T, where, mode string, cut bool) *life {
	return &life{T: t, where: where, disk: disktest.New(t), mode: mode, cut: cut, src: newSource(), expired: make(map[uint64]bool)}
}

// make is the log as a process sets it up.
func (l *life) make() *Sink {
	s := &Sink{Path: filepath.Join(l.disk.Dir, "log", "all.log"), Sync: l.mode, Disk: l.disk.Under, Host: "here",
		env: environment{walSize: 8 * blockSize, boot: l.boot}, Retention: RetentionPolicy{Files: keptFiles}, Log: slog.New(slog.NewTextHandler(&l.said, nil))}
	s.Keys = l.keys
	if l.keepAll {
		s.Retention.Files, s.Retention.Compress = 0, "none"
	}
	if l.apart {
		s.State = filepath.Join(l.disk.Dir, "lib", "state")
	}
	s.Retention.AwaitConsumers, s.Alive, s.env.fresh = true, l.alive, true
	if l.held {
		s.Retention.HoldBytes = 1 << 30
	}
	return s
}

// consumers are told of what goes and, if l.held, need everything.
func (l *life) consumers() (c Consumers) {
	if l.held {
		c.Needed = func() (Position, bool) { return Position{Generation: 1}, true }
	}
	c.Expire = func(_ context.Context, g, _ Generation) error {
		l.expired[g.Number] = true
		return nil
	}
	return c
}

func (l *life) fail(format string, args ...any) {
	l.Helper()
	l.Fatalf("%s: %s\n%s", l.where, fmt.Sprintf(format, args...), l.said.Bytes())
}

// start opens the log; an error is the disk's that stopped, or a failure.
func (l *life) start() (*Sink, error) {
	l.Helper()
	s := l.make()
	if err := s.Open(context.Background()); err != nil {
		if !l.disk.Stopped() && !l.mayFail {
			l.fail("open: %v", err)
		}
		return nil, err
	}
	s.SetConsumers(l.consumers())
	return s, nil
}

// crash ends the log with the machine, or with its process alone.
func (l *life) crash(s *Sink, seed uint64) {
	l.disk.Stop()
	if s != nil {
		s.Close(context.Background())
	}
	if l.cut {
		l.disk.Cut(seed)
	} else {
		l.disk.Kill()
	}
}

// meet has the agent learn where its stream stands, and go on from there: all
// that was acknowledged must be there, and nothing that was never sent.
func (l *life) meet(s *Sink) {
	l.Helper()
	w := welcomed(s, "a")
	if l.mode == syncCommit || !l.cut { // else the log may have lost lines, and says so
		if !l.incarnation.IsZero() && w.Incarnation != l.incarnation {
			l.fail("the log has a new incarnation")
		}
		if len(w.Streams) == 0 && l.src.opened {
			l.fail("the stream is not known any more")
		}
	}
	l.incarnation = w.Incarnation
	if len(w.Streams) == 0 {
		return
	}
	at := int(w.Streams[0].Offset)
	if at != len(l.src.text) && at != len(l.sent) || wire.TailHash(l.sent[:at]) != w.Streams[0].Tail {
		l.fail("the stream stands at %d; %d bytes were acknowledged, %d sent", at, len(l.src.text), len(l.sent))
	}
	l.src.text, l.src.opened = l.sent[:at:at], true
	l.lines = lines.Count(l.src.text)
}

// work has the agent send lines, and rotates after each few, until all are sent
// or the disk has stopped.
func (l *life) work(s *Sink, rounds int) {
	l.Helper()
	failed := func(what string, err error) bool {
		if err != nil && !l.disk.Stopped() && !l.mayFail {
			l.fail("%s: %v", what, err)
		}
		return err != nil
	}
	if !l.src.opened && failed("open the stream", l.src.open(s)) {
		return
	}
	l.src.opened = true
	for i := range rounds {
		acked, list := len(l.src.text), []wire.Batch{l.src.batch(l.line(l.lines))}
		if i%4 == 3 {
			list = append(list, l.src.batch(l.line(l.lines+1)))
		}
		l.sent = l.src.text
		var first error
		for n, err := range appendTogether(s, list...) {
			switch {
			case err == nil && first != nil:
				l.fail("a batch is acknowledged, and the one before it failed: %v", first)
			case err == nil:
				acked = int(list[n].End)
				l.lines++
			case first == nil:
				first = err
			}
		}
		if l.src.text = l.sent[:acked:acked]; failed("append", first) {
			return
		}
		if i%5 == 4 {
			if _, err := s.Rotate(context.Background()); failed("rotate", err) {
				return
			}
			l.idle(s)
		}
	}
}

func (l *life) line(i int) string {
	return fmt.Sprintf("line %d %s", i, strings.Repeat("x", i*397%1500))
}

// idle waits until the janitor has nothing left to do, or cannot do it.
func (l *life) idle(s *Sink) {
	l.Helper()
	for end := time.Now().Add(20 * time.Second); !l.disk.Stopped() && !l.disk.Failed() && !l.tidy(s); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			l.fail("the janitor does not end; the files are %+v", s.Status().Generations)
		}
	}
}

// tidy reports whether every file is compressed but the newest, and there are no
// more than there should be.
func (l *life) tidy(s *Sink) bool {
	all := s.Status().Generations
	closed := slices.DeleteFunc(all[:len(all)-1], func(g Generation) bool { return g.State == stateLost })
	for i, g := range closed {
		if _, err := os.Stat(filepath.Join(filepath.Dir(s.Path), strings.TrimSuffix(g.Name, ".gz"))); g.State == stateGzip && err == nil {
			return false
		}
		if i < len(closed)-1 && g.State != stateGzip {
			return false
		}
	}
	return len(closed) <= keptFiles || l.held
}

// hold closes the log and holds all of it against what was sent.
func (l *life) hold(s *Sink) {
	l.Helper()
	if err := s.Checkpoint(context.Background()); err != nil { // the text follows the ack
		l.fail("checkpoint: %v", err)
	}
	l.histogram(s)
	var got []byte
	r := s.Reader(Position{})
	for buf := make([]byte, 64<<10); ; {
		text, _, err := r.Read(context.Background(), buf)
		if err != nil {
			l.fail("read: %v", err)
		}
		if text == nil {
			break
		}
		for line := range bytes.Lines(text) {
			_, body, ok := bytes.Cut(line, []byte(" web app: "))
			if !ok {
				l.fail("the log holds %q", line)
			}
			got = append(got, body...)
		}
	}
	r.Close()
	all := s.Status().Generations
	if first := all[0].Number; len(got) < len(l.src.text) && (l.held || len(all) <= keptFiles || !l.expired[first-1]) {
		l.fail("lines are gone that should be kept; of %+v are left\n%.300s", all, got)
	}
	if !bytes.HasSuffix(l.src.text, got) || len(got) == 0 {
		l.fail("the log holds\n%.300s\nsent was\n%.300s", got, l.src.text)
	}
	if err := s.Close(context.Background()); err != nil {
		l.fail("close: %v", err)
	}
	if v, err := Verify(context.Background(), s.Path, s.State); err != nil || !v.OK() || len(v.Notes) > 0 {
		l.fail("verify: %v %q %q", err, v.Problems, v.Notes)
	}
	l.leftovers(s, all)
}

// leftovers looks for files that nothing knows.
func (l *life) leftovers(s *Sink, all []Generation) {
	l.Helper()
	var known []string
	for _, g := range all {
		known = append(known, g.Name, filepath.Base(ledgerName("", g.Number)), filepath.Base(summaryName("", g.Number)))
	}
	for _, dir := range []string{filepath.Dir(s.Path), s.State} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			l.fail("%v", err)
		}
		for _, e := range entries {
			name := e.Name()
			if e.IsDir() || slices.Contains(known, name) || slices.Contains([]string{"lock", "." + filepath.Base(s.Path) + ".lock", checkpointName, walName, outlinesName}, name) {
				continue
			}
			if strings.HasPrefix(name, "table-") && !slices.Contains(known, "a table") {
				known = append(known, "a table")
				continue
			}
			l.fail("%s was left in %s", name, dir)
		}
	}
}

// TestCrashAtEveryAccess stops the machine at each single access to the disk,
// those of the recovery from that included, with rotation, compression and
// retention going on. What was acknowledged is in the log exactly once, in order,
// each time: after a kill -9 in both modes, and with sync=commit after a power cut
// too, whatever that leaves of what was not synced.
func TestCrashAtEveryAccess(t *testing.T) {
	disktest.EachAccess(t, 8, func(t *testing.T, n int64, seed uint64) (ended bool) {
		ended = crash(t, syncCommit, true, n, seed)
		if seed%2 == 0 { // one way of being killed for each two of having no power
			mode := []string{syncCommit, syncNone}[seed/2%2]
			ended = crash(t, mode, false, n, seed) && ended
		}
		return ended
	})
}

// crash crashes at the n-th access, and, by the seed, once more while the log is
// being opened again, or when it just was.
func crash(t *testing.T, mode string, cut bool, n int64, seed uint64) (ended bool) {
	l := newLife(t, fmt.Sprintf("sync=%s, power cut %v, access %d, seed %d", mode, cut, n, seed), mode, cut)
	defer l.disk.Remove()
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	l.held, l.apart = rnd.IntN(3) == 0, rnd.IntN(2) == 0
	l.disk.StopAt(n, []int{0, 1, 4096}[rnd.IntN(3)])
	s, err := l.start()
	if err == nil {
		l.incarnation = s.Welcome("a").Incarnation
		l.work(s, 15)
	}
	ended = !l.disk.Stopped()
	again := rnd.IntN(4)
	if again == 1 { // a kill; and then the power is cut before what was read back is durable
		l.cut = false
	}
	l.crash(s, seed)
	if l.cut = cut; again > 0 {
		l.disk.StopAt(n%47+1, 0)
		if s, err = l.start(); err == nil {
			l.meet(s)
		}
		l.crash(s, seed+1)
	}
	if s, err = l.start(); err != nil {
		l.fail("%v", err)
	}
	l.meet(s)
	l.work(s, 7)
	l.idle(s)
	l.hold(s)
	return ended
}

// TestPowerCutWithoutSync: with sync=none, a power cut may lose and double lines.
// It is noticed and said, and the log goes on.
func TestPowerCutWithoutSync(t *testing.T) {
	disktest.EachAccess(t, 8, func(t *testing.T, n int64, seed uint64) (ended bool) {
		l := newLife(t, fmt.Sprintf("access %d, seed %d", n, seed), syncNone, true)
		defer l.disk.Remove()
		l.disk.StopAt(n, 0)
		s, err := l.start()
		if err == nil {
			l.incarnation = s.Welcome("a").Incarnation
			l.work(s, 7)
		}
		ended = !l.disk.Stopped()
		l.crash(s, seed)
		l.boot = "another one"
		s = l.make()
		err = s.Open(context.Background())
		var damaged *DamagedError
		if errors.As(err, &damaged) { // neither checkpoint was ever synced, and both are torn
			if _, err := Repair(context.Background(), s.Path, s.State); err != nil {
				l.fail("repair: %v", err)
			}
			s = l.make()
			err = s.Open(context.Background())
		}
		if err != nil {
			l.fail("open: %v", err)
		}
		s.SetConsumers(l.consumers())
		said := damaged != nil || strings.Contains(l.said.String(), "REBOOTED")
		if now := s.Welcome("a").Incarnation; now == l.incarnation || !l.incarnation.IsZero() && !said {
			l.fail("the agent is not told of the power cut: incarnation %s", now)
		}
		l.src, l.lines, l.incarnation = newSource(), 1000, wire.StreamID{} // as an agent does without saved positions
		l.work(s, 7)
		if err := s.Close(context.Background()); err != nil {
			l.fail("close: %v", err)
		}
		if got := bodies(t, s); !strings.HasSuffix(strings.Join(got, "\n")+"\n", string(l.src.text)) {
			l.fail("the log holds %q, want at its end %q", got, l.src.text)
		}
		return ended
	})
}

// histogram holds the histogram of the log against the log itself.
func (l *life) histogram(s *Sink) {
	l.Helper()
	conserved(l.T, s, l.where)
}
