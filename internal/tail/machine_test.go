//go:build !windows

package tail

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanin/internal/disk"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestFileOperations plays random sequences of everything that happens to files, to the
// agent and to its collector, with a simulated clock, and holds what is kept against a
// model. They are 500, always the same; or FANIN_SEQUENCES, which differ each time. FANIN_STORY is a file for what happened
// in the last sequence that failed.
func TestFileOperations(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("FANIN_SEQUENCES"))
	if err != nil {
		n = 500
	}
	for i := range (n + 99) / 100 { // rapid.Check plays 100
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if err != nil { // a test that fails shall be about what changed last
				flag.Set("rapid.seed", fmt.Sprint(i+1))
			}
			rapid.Check(t, func(draw *rapid.T) {
				inBubble(t, func(t *testing.T) { newMachine(t, draw).play(draw) })
			})
		})
	}
}

// inBubble calls f with a simulated clock. What f panics with, as rapid does to end a
// sequence, reaches the caller.
func inBubble(t *testing.T, f func(t *testing.T)) {
	var reason any
	synctest.Test(t, func(t *testing.T) {
		defer func() { reason = recover() }()
		f(t)
	})
	if reason != nil {
		panic(reason)
	}
}

// The pauses of the tailer.
const (
	machinePoll   = 500 * time.Millisecond
	machineGrace  = 3 * time.Second
	machineSettle = 5 * time.Second
	machineLetGo  = 20 * time.Second
	machineForget = time.Minute
	machineStop   = 10 * time.Second
)

// writtenLine is a line that a program wrote.
type writtenLine struct {
	text         string
	file, number int  // the lines of one file are sent in the order of their numbers
	lossy        bool // what held it was destroyed before it was kept: it may be missing
	twice        bool // nothing proves that it was sent before: it may come again
	unsure       bool // the same, but then something is counted
	again        bool // the same, but then exactly so many bytes are counted, and reported
}

// inode is a file as the model sees it.
type inode struct {
	f         *os.File // as the program that writes it has it open
	file      int      // number for the lines that are written to it
	number    int      // of the last of them
	lines     []*writtenLine
	half      string          // the rest of the last line, which is not written yet
	names     map[string]bool // paths; true: over a symbolic link
	seen      time.Time       // since when it has a name that is followed; zero: it has none
	began     time.Time       // when it had no text at all
	opened    bool            // the agent that runs has it open ...
	settled   bool            // ... and has seen this text
	known     bool            // a next run knows of it, whatever its name is
	stored    bool            // the collector knows of it ...
	foreign   bool            // ... by the number of another device, perhaps
	sent      bool            // some of this text is kept
	inherited int             // lines that it has from the one that it replaced
	copied    bool            // another file has some of its lines, and they may be kept as that one's
	version   bool            // it replaced another file that it is a version of
	original  *inode          // that it is a copy of, as long as that matters
	gone      bool            // no agent finds it: what is written to it may be missing
	closed    time.Time       // when the program is done with it; zero: not yet
}

// machine is the model, beside the files themselves.
type machine struct {
	*rig
	draw    *rapid.T
	link    *connection // of the run
	seed    uint64
	pattern string
	log     *record
	story   []string

	running, away bool
	tables        int               // that were put into force so far; odd: none names a file
	since         time.Time         // of the run
	returned      time.Time         // when tables named files again
	counted       map[string]uint64 // by the runs before
	told          int               // names and numbers that were given away
	inodes        []*inode
	byName        map[string]*inode
	links         map[string]string // symbolic links, and where they lead
	lines         map[string]*writtenLine
	kept          map[string]int
	read          int         // of collector.order
	again         uint64      // bytes of lines that came again, see writtenLine.again
	last          map[int]int // number of the last line that was kept of a file
}

func newMachine(t *testing.T, draw *rapid.T) *machine {
	state := stateDir(t)
	m := &machine{rig: newRig(t), draw: draw, log: &record{}, counted: make(map[string]uint64), byName: make(map[string]*inode), links: make(map[string]string),
		lines: make(map[string]*writtenLine), kept: make(map[string]int), last: make(map[int]int)}
	t.Cleanup(func() {
		for _, s := range m.inodes {
			s.f.Close()
		}
	})
	for _, dir := range []string{"data", "away"} {
		if err := os.Mkdir(m.path(dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	m.state = state
	m.seed = rapid.Uint64().Draw(draw, "answers")
	m.pattern = rapid.SampledFrom([]string{"*.log*", "*.log"}).Draw(draw, "pattern")
	m.change = m.settings
	return m
}

// stateDir makes a directory in which a sync costs nothing, where there is one.
func stateDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "fanin-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (m *machine) settings(t *Tailer) {
	t.Tables = m.inForce()
	t.Poll, t.Grace, t.Settle = machinePoll, machineGrace, machineSettle
	t.LetGo, t.Forget, t.StopWait = machineLetGo, machineForget, machineStop
	t.noHints = true
	t.Log = slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m.link = &connection{to: m.collector, log: m.log, seed: m.seed, attempts: make(map[string]uint64), away: m.away}
	t.Out = m.link
}

// inForce returns the tables.
func (m *machine) inForce() []Table {
	if m.tables%2 == 1 {
		return nil
	}
	return []Table{{Paths: []string{m.path(m.pattern)}, Settings: fmt.Sprint(m.tables)}}
}

// play plays one sequence.
func (m *machine) play(draw *rapid.T) {
	m.launch()
	draw.Repeat(m.operations())
	m.end()
}

// did notes what happened, and when.
func (m *machine) did(format string, args ...any) {
	m.story = append(m.story, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// fail ends the sequence. What is wrong is the same each time, so that rapid can find a shorter
// sequence with the same fault.
func (m *machine) fail(wrong, format string, args ...any) {
	m.Helper()
	var log strings.Builder
	for line := range strings.Lines(m.log.text.String()) {
		log.WriteString(strings.TrimPrefix(line, "time=2000-01-01T"))
	}
	text := fmt.Sprintf("%s\npattern %s\n%s\nthe agent logged:\n%s", fmt.Sprintf(format, args...), m.pattern,
		strings.Join(m.story, "\n"), strings.ReplaceAll(log.String(), m.dir+"/", ""))
	m.draw.Log(text)
	if path := os.Getenv("FANIN_STORY"); path != "" { // goroutines run in any order, so rapid may not find it again
		os.WriteFile(path, []byte(wrong+"\n"+text), 0o640)
	}
	m.draw.Fatal(wrong)
}

// pass lets time pass.
func (m *machine) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	m.observe()
}

// observe notes what the agent must have opened by now: what had a name that is followed
// for two looks.
func (m *machine) observe() {
	m.check(nil)
	for _, s := range m.inodes {
		if slices.ContainsFunc(s.lines[s.inherited:], func(x *writtenLine) bool { return m.kept[x.text] > 0 }) && (!s.copied || m.inLog(s, 1)) {
			s.known, s.sent, s.stored = true, true, true
		}
		if !m.looks() || s.seen.IsZero() {
			continue
		}
		since := s.seen
		if m.since.After(since) {
			since = m.since
		}
		s.opened = s.opened || time.Since(since) > 2*machinePoll
		if time.Since(since) > machineSettle && !m.away {
			s.foreign = false
			if s.original != nil && m.inLog(s, 0) {
				s.original = nil
			}
		}
		s.settled = s.settled || s.opened && time.Since(s.began) > 2*machinePoll
	}
}

// inLog reports whether the collector knows a stream of the file, with so much text or more. A stream
// that went on in a copy is one of that.
func (m *machine) inLog(s *inode, least int64) bool {
	fi, err := s.f.Stat()
	if err != nil {
		m.Fatal(err)
	}
	m.collector.mu.Lock()
	defer m.collector.mu.Unlock()
	for stream, b := range m.collector.ident {
		if id, err := parseIdentity(b); err == nil && id.inode == disk.Inode(fi) && m.collector.watermarks[stream].Offset >= least {
			return true
		}
	}
	return false
}

// check holds what was kept since the last check against the model.
func (m *machine) check(*rapid.T) {
	synctest.Wait()
	m.collector.mu.Lock()
	fresh := m.collector.order[m.read:]
	m.read += len(fresh)
	m.collector.mu.Unlock()
	for _, text := range fresh {
		x := m.lines[text]
		if x == nil {
			m.fail("a line is torn", "%.60q is kept, and was never written", text)
		}
		if m.kept[text]++; m.kept[text] > 1 {
			counted := m.count("unsure_files")+m.count("maybe_doubled_bytes") > 0
			if !x.twice && !(x.unsure && counted) && !(x.again && m.countedAgain(x)) {
				m.fail("a line is doubled", "%.20q is kept %d times", text, m.kept[text])
			}
			continue
		}
		if x.number < m.last[x.file] {
			m.fail("lines are reordered", "%.20q is kept after %d.%d", text, x.file, m.last[x.file])
		}
		m.last[x.file] = x.number
	}
}

// countedAgain reports whether a line that came again is among the bytes that are counted and were reported.
func (m *machine) countedAgain(x *writtenLine) bool {
	m.again += uint64(len(x.text) + 1)
	return m.count("maybe_doubled_bytes") >= m.again &&
		strings.Contains(m.log.text.String(), "file may be a copy of text that was sent of another one, which is not certain")
}

// count is what the agents of the sequence have counted.
func (m *machine) count(name string) uint64 {
	n := m.counted[name]
	if m.running {
		n += m.tailer.Counts()[name]
	}
	return n
}

// missingLines are those that must be kept, and are not yet.
func (m *machine) missingLines() (all []*writtenLine) {
	for _, x := range m.lines {
		if !x.lossy && m.kept[x.text] == 0 {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b *writtenLine) int { return strings.Compare(a.text, b.text) })
	return all
}

// end lets everything come to rest, and wants each line to be there.
func (m *machine) end() {
	m.seed = 0 // all goes well from now on
	m.comeBack()
	if !m.running {
		m.launch()
	}
	m.link.set(func() { m.link.seed = 0 })
	if m.tables%2 == 1 {
		m.putIntoForce(m.tables + 1)
	}
	for _, s := range m.inodes {
		m.complete(s)
	}
	m.did("the end")
	for range 2 * machineForget / machinePoll {
		if len(m.missingLines()) == 0 {
			break
		}
		m.pass(machinePoll)
	}
	m.pass(2 * machineSettle)
	if lost := m.missingLines(); len(lost) > 0 {
		m.fail("lines are lost", "%d lines are missing, the first is %.20q; the files are %+v", len(lost), lost[0].text, m.tailer.Status())
	}
	m.stopAgent()
}

// followed reports whether a path is one that the agent follows.
func (m *machine) followed(path string) bool {
	ok, _ := filepath.Match(m.pattern, path)
	return ok && !Packed(path)
}

// newInode makes a file that is written to under a path.
func (m *machine) newInode(path string) *inode {
	m.tick()
	f, err := os.OpenFile(m.path(path), os.O_APPEND|os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		m.Fatal(err)
	}
	m.told++
	s := &inode{f: f, file: m.told, names: make(map[string]bool)}
	m.inodes = append(m.inodes, s)
	m.touch(s)
	m.name(s, path, false)
	m.relink()
	return s
}

// touch sets the time of modification, by the simulated clock.
func (m *machine) touch(s *inode) {
	now := unix.NsecToTimeval(time.Now().UnixNano())
	if err := unix.Futimes(int(s.f.Fd()), []unix.Timeval{now, now}); err != nil {
		m.Fatal(err)
	}
}

// name notes that a file got a name.
func (m *machine) name(s *inode, path string, link bool) {
	s.names[path] = link
	m.byName[path] = s
	if s.seen.IsZero() && m.followed(path) {
		s.seen = time.Now()
	}
}

// unname notes that a file lost a name.
func (m *machine) unname(path string) {
	s := m.byName[path]
	delete(m.byName, path)
	delete(s.names, path)
	for path := range s.names {
		if m.followed(path) {
			return
		}
	}
	s.seen = time.Time{}
}

// relink notes where the symbolic links lead now.
func (m *machine) relink() {
	for path, target := range m.links {
		before, now := m.byName[path], m.byName[target]
		if before == now {
			continue
		}
		if before != nil {
			m.unname(path)
			m.unlinked(before)
		}
		if now != nil {
			m.name(now, path, true)
		}
	}
}

// maybeUnproven is called when an original is not followed any more: the next agent may not
// know which of the two a stream is in.
func (m *machine) maybeUnproven(s *inode) {
	if !s.seen.IsZero() {
		return
	}
	for _, x := range m.inodes {
		if x.original != s {
			continue
		}
		m.maybeAgain(x.lines, m.blind()) // less than 1 KiB of text proves nothing, and is sent again
		if x.seen.IsZero() && m.blind() && !x.gone {
			m.forget(x)
		}
	}
}

// maybeAgain notes that lines may come again, which must be counted.
func (m *machine) maybeAgain(lines []*writtenLine, so bool) {
	for _, line := range lines {
		line.again = line.again || so
	}
}

// looks reports whether an agent looks at the files. One that no collector answered yet does not, or whose tables name
// none: what happens meanwhile is to it as if it did not run.
func (m *machine) looks() bool { return m.running && !m.unwelcome && m.tables%2 == 0 }

// blind reports whether the agent does not know what happens now: it looks at nothing, or its first look since tables
// name files again is due.
func (m *machine) blind() bool { return !m.looks() || time.Since(m.returned) < machinePoll }

// lose notes that nothing finds a file any more.
func (m *machine) lose(s *inode) {
	s.gone = true
	m.destroy(s.lines)
	m.maybeUnproven(s)
}

// destroy notes that these lines may be missing, unless they are kept, or another file has
// them.
func (m *machine) destroy(lines []*writtenLine) {
	synctest.Wait()
	m.check(nil)
	for _, x := range lines {
		elsewhere := slices.ContainsFunc(m.inodes, func(s *inode) bool { return !s.gone && slices.Contains(s.lines, x) })
		if m.kept[x.text] == 0 && !elsewhere {
			x.lossy = true
		}
	}
}

// complete writes the rest of a file's last line.
func (m *machine) complete(s *inode) {
	if s.half != "" {
		m.did("complete the last line of %s", m.title(s))
		m.write(s, s.half)
		s.half = ""
	}
}

// tick lets the least time pass: no two changes are at one moment.
func (m *machine) tick() { m.pass(time.Millisecond) }

func (m *machine) write(s *inode, text string) {
	m.tick()
	if _, err := s.f.WriteString(text); err != nil {
		m.Fatal(err)
	}
	m.touch(s)
}

// title is what the story calls a file.
func (m *machine) title(s *inode) string {
	var names []string
	for name := range s.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Sprintf("%d(%s)", s.file, strings.Join(names, " "))
}

// newLine makes a line that no other call makes, of the file's own text.
func (m *machine) newLine(s *inode, long bool) *writtenLine {
	s.number++
	x := &writtenLine{text: fmt.Sprintf("%d.%d", s.file, s.number), file: s.file, number: s.number, lossy: s.gone}
	if long {
		x.text += strings.Repeat("-"+x.text, 700/len(x.text))
	}
	m.lines[x.text] = x
	s.lines = append(s.lines, x)
	return x
}
