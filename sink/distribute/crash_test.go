package distribute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fanin/internal/disk"
	"fanin/internal/disk/disktest"
	"fanin/sink"
	"fanin/sink/distribute/protocol"
)

// crashLog is a log whose distributor keeps what it knows on a disk that forgets.
// The log itself never crashes.
type crashLog struct {
	sink  *sink.Sink
	work  string
	disk  atomic.Pointer[disktest.Disk]
	lines []string // positions of the lines, in their order
}

const crashLines = 8

func newCrashLog(t *testing.T, mode string) *crashLog {
	dir := disktest.TempDir(t)
	l := &crashLog{work: filepath.Join(dir, "state", workDir)}
	if err := os.MkdirAll(l.work, 0o750); err != nil {
		t.Fatal(err)
	}
	l.sink = &sink.Sink{Path: filepath.Join(dir, "all.log"), State: filepath.Dir(l.work), Sync: mode, Host: "here", Retention: sink.RetentionPolicy{Compress: "none"},
		Disk: &disk.Disk{Fault: func(op disk.Op, path string) (int, error) {
			d := l.disk.Load()
			if d == nil || path != l.work && !strings.HasPrefix(path, l.work+string(filepath.Separator)) {
				return 0, nil
			}
			return d.Under.Fault(op, path)
		}}}
	if err := l.sink.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.sink.Close(context.Background()) })
	b := &bench{t: t, sink: l.sink}
	b.putMany(0, crashLines)
	if err := l.sink.Checkpoint(context.Background()); err != nil { // the text follows the ack
		t.Fatal(err)
	}
	r := l.sink.Reader(sink.Position{})
	defer r.Close()
	text, at, err := r.Read(context.Background(), make([]byte, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		l.lines = append(l.lines, at.String())
		at.Offset += int64(len(line))
	}
	return l
}

// shift is one life of a distributor, with one worker.
type shift struct {
	*testing.T
	where    string
	log      *crashLog
	disk     *disktest.Disk
	dist     *Distributor
	acked    map[string]bool // by position
	accepted map[string]int  // how often the worker was told so
	last     bool            // what is given counts: all of it is accepted
}

// newShift begins on an empty disk.
func newShift(t *testing.T, log *crashLog, where string) *shift {
	t.Helper()
	if err := os.RemoveAll(log.work); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(log.work, 0o750); err != nil {
		t.Fatal(err)
	}
	s := &shift{T: t, where: where, log: log, disk: disktest.In(t, log.work), acked: make(map[string]bool), accepted: make(map[string]int)}
	log.disk.Store(s.disk)
	return s
}

// start opens the distributor; false: the disk has stopped.
func (s *shift) start() bool {
	s.Helper()
	s.dist = New(s.log.sink, Settings{Attempts: 1})
	err := s.dist.Open(context.Background())
	if err != nil && !s.disk.Stopped() {
		s.Fatalf("%s: open: %v", s.where, err)
	}
	return err == nil
}

// fill creates other groups, so that the group is far behind the header in the file and can
// be torn.
func (s *shift) fill() {
	for i := range 12 {
		s.dist.findOrCreate(fmt.Sprint(strings.Repeat("a", 60), i), "start", netip.Addr{})
	}
}

// saved waits until the groups are saved, or cannot be.
func (s *shift) saved() {
	for dirty := true; dirty && !s.disk.Stopped(); time.Sleep(100 * time.Microsecond) {
		dirty = false
		for _, g := range s.dist.groups.all() {
			g.mu.Lock()
			dirty = dirty || g.dirty || len(g.dead.pending) > 0
			g.mu.Unlock()
		}
	}
}

// crash ends the distributor as a crash does: nothing more reaches the disk.
func (s *shift) crash() {
	s.disk.Stop()
	s.dist.cancel()
	if s.dist.cursors != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.dist.Shutdown(now)
	}
}

// worked has a worker answer everything, one delivery after the other, good lines and bad
// ones, until nothing is left or the disk has stopped.
func (s *shift) worked(bad func(position string) bool) {
	s.Helper()
	nc, err := s.dist.Connect(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	defer nc.Close()
	go nc.Write(protocol.AppendHello(nil, &protocol.Hello{Group: "g", From: "start", Batch: 2, Credit: 2}))
	frames := make(chan protocol.Frame)
	go func() { // ends with the connection
		defer close(frames)
		for r := protocol.NewReader(nc, 4096); ; {
			f, err := r.Frame()
			if err != nil {
				return
			}
			frames <- f
		}
	}()
	defer func() {
		nc.Close()
		for range frames {
		}
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	given, waiting, open := make(map[uint64][]string), []uint64(nil), 0
	for end := time.Now().Add(20 * time.Second); !s.disk.Stopped() && !s.done(); {
		select {
		case f, ok := <-frames:
			if !ok {
				s.Fatalf("%s: the connection ended", s.where)
			}
			switch f.Kind {
			case protocol.KindLines:
				given[f.N] = positions(&f)
				for _, at := range given[f.N] {
					if s.last {
						s.accepted[at]++
					}
				}
				waiting = append(waiting, f.N)
			case protocol.KindAccepted:
				open -= f.To - f.From
				for _, at := range given[f.N][f.From:f.To] {
					if !s.last {
						s.accepted[at]++
					}
				}
			case protocol.KindFault:
				s.Fatalf("%s: %s", s.where, f.Reason)
			}
		case <-tick.C:
		}
		if open == 0 && len(waiting) > 0 { // one delivery at a time, each saved by itself
			open = s.answer(nc, waiting[0], given[waiting[0]], bad)
			waiting = waiting[1:]
		}
		if time.Now().After(end) {
			s.Fatalf("%s: waited in vain; accepted are %v", s.where, s.accepted)
		}
	}
}

func positions(f *protocol.Frame) (list []string) {
	text := f.Text
	for _, r := range f.Runs {
		at := sink.Position{Generation: r.Generation, Offset: r.Offset}
		for line := range bytes.Lines(text[:r.Length]) {
			list = append(list, at.String())
			at.Offset += int64(len(line))
		}
		text = text[r.Length:]
	}
	return list
}

// answer answers a delivery, and returns how many of its lines are to be accepted.
func (s *shift) answer(nc net.Conn, n uint64, lines []string, bad func(string) bool) (acks int) {
	for i, at := range lines {
		kind := protocol.KindAck
		if bad(at) {
			kind = protocol.KindNack
		} else {
			s.acked[at] = true
			acks++
		}
		nc.Write(protocol.AppendFrame(nil, &protocol.Frame{Kind: kind, N: n, From: i, To: i + 1, Reason: "it is bad"}))
	}
	return acks
}

// done reports whether every line is finished, saved and confirmed.
func (s *shift) done() bool {
	g := s.dist.groups.get("g")
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lowLocked() == s.log.sink.End() && len(g.unsaved) == 0 && !g.dirty && g.counts.Accepted+g.counts.Dead == crashLines && len(g.members) > 0 && len(g.members[0].out.frames) == 0
}

// hold compares what became of each line with what the worker was told.
func (s *shift) hold() {
	s.Helper()
	times := s.accepted
	text, err := os.ReadFile(filepath.Join(s.log.work, "dead-g.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var l deadLetter
		if err := json.Unmarshal(line, &l); err != nil || l.Group != "g" || l.Line == "" {
			s.Fatalf("%s: dead letters %q: %v", s.where, text, err)
		}
		times[l.Position]++
	}
	for _, at := range s.log.lines {
		// An answer may be durable and the worker not be told of it.
		if times[at] != 1 && !(times[at] == 0 && s.acked[at]) {
			s.Errorf("%s: line %s was done %d times; dead are\n%s", s.where, at, times[at], text)
		}
	}
	if len(times) > crashLines {
		s.Errorf("%s: lines that never were: %v", s.where, times)
	}
}

// TestCrashAtEveryAccess stops the machine at each access to the cursors and the dead
// letters. In the end each line is accepted or a dead letter, once.
func TestCrashAtEveryAccess(t *testing.T) {
	durable, written := newCrashLog(t, "commit"), newCrashLog(t, "none")
	disktest.EachAccess(t, 1, func(t *testing.T, n int64, seed uint64) bool {
		ended := crashShift(t, durable, true, n, seed)
		return crashShift(t, []*crashLog{durable, written}[n%2], false, n, seed) && ended
	})
}

func crashShift(t *testing.T, log *crashLog, cut bool, n int64, seed uint64) (ended bool) {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	s := newShift(t, log, fmt.Sprintf("sync=%s, power cut %v, access %d, seed %d", log.sink.Sync, cut, n, seed))
	defer s.disk.Remove()
	lose := func(seed uint64) {
		s.crash()
		if cut {
			s.disk.Cut(seed)
		} else {
			s.disk.Kill()
		}
	}
	s.disk.StopAt(n, []int{0, 1, 4096}[rnd.IntN(3)])
	if s.start() {
		s.fill()
		s.worked(func(at string) bool { return slices.Index(log.lines, at)%2 == 1 })
	}
	ended = !s.disk.Stopped()
	switch rnd.IntN(3) {
	case 0: // a kill, and a cut while what it left is being read
		s.crash()
		s.disk.Kill()
		s.disk.StopAt(1+rnd.Int64N(9), 0)
		if s.start() {
			s.saved()
		}
		lose(seed)
	case 1:
		lose(seed)
		s.disk.StopAt(1+rnd.Int64N(9), 0)
		if s.start() {
			s.saved()
		}
		lose(seed + 1)
	default:
		lose(seed)
	}
	if !s.start() {
		t.Fatal("the disk has stopped by itself")
	}
	s.last = true
	s.worked(func(string) bool { return false })
	s.hold()
	s.crash()
	return ended
}

// TestCutAfterKill: a process is killed between the write and the sync of the cursors, and
// the power is cut while the next process writes. What was accepted before stays accepted:
// one of the two files is complete at any moment.
func TestCutAfterKill(t *testing.T) {
	log := newCrashLog(t, "commit")
	for seed := uint64(disktest.Losses); seed < disktest.Losses+100; seed++ {
		s := newShift(t, log, fmt.Sprint("seed ", seed))
		s.start()
		g, err := s.dist.findOrCreate("g", "start", netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		save := func(accepted uint64) error {
			g.mu.Lock()
			g.counts.Accepted, g.dirty = accepted, true
			g.mu.Unlock()
			return s.dist.cursors.flush(context.Background())
		}
		s.fill()
		for n := range uint64(3) {
			if err := save(n); err != nil {
				t.Fatal(err)
			}
		}
		stopAtSync := func(file string) {
			s.disk.Each(func(op disk.Op, path string) {
				if op == disk.OpSync && path == file {
					s.disk.Stop()
				}
			})
		}
		untilStopped := func() {
			for !s.disk.Stopped() {
				time.Sleep(100 * time.Microsecond)
			}
		}
		written, next := s.dist.cursors.path(int(s.dist.cursors.seq+1)%2), s.dist.cursors.path(int(s.dist.cursors.seq)%2)
		stopAtSync(written)
		g.mu.Lock()
		g.counts.Accepted = 3
		g.changedLocked()
		g.mu.Unlock()
		untilStopped()
		s.crash()
		s.disk.Kill()
		stopAtSync(next)
		s.start() // which saves the groups
		untilStopped()
		s.crash()
		s.disk.Each(nil)
		s.disk.Cut(seed)
		s.start()
		if g := s.dist.groups.get("g"); g == nil || g.counts.Accepted < 2 {
			t.Errorf("%s: what was accepted is forgotten: %+v", s.where, g)
		}
		s.crash()
		s.disk.Remove()
	}
}

// TestDeadIsSavedFirst: a line that fails while the groups are being saved is not written to
// the dead letters before the cursors have it as dead: after a crash in between it would be
// handed out again.
func TestDeadIsSavedFirst(t *testing.T) {
	s := newShift(t, newCrashLog(t, "commit"), "dead")
	defer s.disk.Remove()
	s.start()
	defer s.crash()
	g, err := s.dist.findOrCreate("g", "start", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.dist.cursors.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	die := func(i int) {
		at, err := sink.ParsePosition(s.log.lines[i])
		if err != nil {
			t.Error(err)
		}
		next, err := sink.ParsePosition(s.log.lines[i+1])
		if err != nil {
			t.Error(err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.dead.add(span{at.Generation, at.Offset, next.Offset, 1, 1}, "it is bad", "")
		g.changedLocked()
	}
	die(0)
	var once atomic.Bool
	s.disk.Each(func(op disk.Op, path string) {
		if op == disk.OpWrite && strings.Contains(path, "cursors-") && once.CompareAndSwap(false, true) {
			die(1)
		}
		if op == disk.OpSync && strings.Contains(path, "dead-") {
			s.disk.Each(nil)
			text, err := os.ReadFile(path)
			if err != nil || bytes.Count(text, []byte{'\n'}) != 1 || !bytes.Contains(text, []byte(s.log.lines[0])) {
				t.Errorf("%v; dead are\n%s", err, text)
			}
		}
	})
	if err := s.dist.cursors.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(g.deadPath()); err != nil {
		t.Error(err)
	}
}
