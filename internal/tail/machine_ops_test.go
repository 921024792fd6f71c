//go:build !windows

package tail

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// What happens to files.

// operations are all that may happen, by name. Some have several names, and so are drawn
// more often.
func (m *machine) operations() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":      m.check,
		"write": m.append, "write more": m.append, "write again": m.append, "write late": m.appendLate, "complete": m.completeLine,
		"create": m.create, "rename": m.rotate, "rename again": m.rotate, "delete": m.remove, "truncate": m.truncate,
		"copy and truncate": m.copyAndTruncate, "copy and truncate again": m.copyAndTruncate,
		"replace": m.replaceFile, "compress": m.compress, "link": m.hardLink, "symlink": m.symlink, "switch": m.switchLink,
		"start": m.startAgent, "stop": m.stop, "kill": m.kill, "go away": m.goAway, "come back": m.comeBackAgain,
		"reload": m.reload, "wait": m.wait, "wait more": m.wait,
	}
}

// pick chooses one of the names that fit; the operation is not possible without any.
func (m *machine) pick(draw *rapid.T, what string, fits func(path string, s *inode) bool) (string, *inode) {
	var all []string
	for path, s := range m.byName {
		if fits(path, s) {
			all = append(all, path)
		}
	}
	if len(all) == 0 {
		draw.Skip()
	}
	slices.Sort(all)
	path := rapid.SampledFrom(all).Draw(draw, what)
	return path, m.byName[path]
}

// live are the names under which programs write.
var live = []string{"a.log", "b.log", "s.log"}

func isLive(path string, _ *inode) bool { return slices.Contains(live, path) }

// isLiveFile is the same without symbolic links.
func isLiveFile(path string, s *inode) bool { return isLive(path, s) && !s.names[path] }

func (m *machine) appendTo(draw *rapid.T, s *inode) {
	long := rapid.Bool().Draw(draw, "long")
	n := rapid.IntRange(1, 5).Draw(draw, "lines")
	var b strings.Builder
	if s.half != "" {
		b.WriteString(s.half)
		s.half = ""
	}
	if len(s.lines) == 0 {
		s.began, s.settled = time.Now(), false
	}
	first := s.number + 1
	for range n {
		b.WriteString(m.newLine(s, long).text + "\n")
	}
	text := b.String()
	if rapid.IntRange(0, 3).Draw(draw, "partly") == 0 {
		at := len(text) - rapid.IntRange(1, 3).Draw(draw, "cut")
		text, s.half = text[:at], text[at:]
	}
	m.did("write lines %d to %d to %s, long %v, half %q", first, s.number, m.title(s), long, s.half)
	m.write(s, text)
}

func (m *machine) append(draw *rapid.T) {
	_, s := m.pick(draw, "to", isLive)
	m.appendTo(draw, s)
	m.pause(draw)
}

// appendLate is for a program that still has a rotated file open.
func (m *machine) appendLate(draw *rapid.T) {
	var all []*inode
	for _, s := range m.inodes {
		if !s.closed.IsZero() && time.Now().Before(s.closed) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		draw.Skip()
	}
	s := all[rapid.IntRange(0, len(all)-1).Draw(draw, "to")]
	m.appendTo(draw, s)
	m.complete(s)
	m.pause(draw)
}

func (m *machine) completeLine(draw *rapid.T) {
	_, s := m.pick(draw, "of", func(_ string, s *inode) bool { return s.half != "" })
	m.complete(s)
	m.pause(draw)
}

func (m *machine) create(draw *rapid.T) {
	path := rapid.SampledFrom(live[:2]).Draw(draw, "name")
	if m.byName[path] != nil {
		draw.Skip()
	}
	s := m.newInode(path)
	m.did("create %s", m.title(s))
	if rapid.Bool().Draw(draw, "empty") {
		m.pause(draw)
	}
	m.appendTo(draw, s)
	m.pause(draw)
}

// rotated draws a name for a rotated file.
func (m *machine) rotated(draw *rapid.T, path string) string {
	m.told++
	base := strings.TrimSuffix(path, ".log")
	return rapid.SampledFrom([]string{fmt.Sprintf("%s.%d", path, m.told), fmt.Sprintf("%s-%d.log", base, m.told), fmt.Sprintf("old-%d", m.told)}).Draw(draw, "to")
}

// rename renames a file.
func (m *machine) rename(from, to string) {
	if err := os.Rename(m.path(from), m.path(to)); err != nil {
		m.Fatal(err)
	}
	s, before := m.byName[from], m.byName[to]
	if before != nil {
		m.unname(to)
	}
	m.name(s, to, false)
	m.unname(from)
	m.relink()
	m.unlinked(s)
	if before != nil {
		m.unlinked(before)
	}
}

// unlinked is called when a file lost a name. What has none that the agent finds is lost,
// unless the agent has it open.
func (m *machine) unlinked(s *inode) {
	m.maybeUnproven(s)
	if !s.opened && !m.reachable(s) {
		m.lose(s)
	}
}

// rotate renames a file; the program may go on writing to it for a while.
func (m *machine) rotate(draw *rapid.T) {
	path, s := m.pick(draw, "file", isLiveFile)
	to := m.rotated(draw, path)
	m.maybeTwice(s.lines, s.version && !s.settled) // it was not seen where it was put
	m.rename(path, to)
	m.did("rename %s to %s", path, m.title(s))
	if rapid.Bool().Draw(draw, "create") {
		m.did("create %s", m.title(m.newInode(path)))
	}
	if s.half != "" {
		m.pause(draw) // no longer than grace
		m.complete(s)
	}
	s.closed = time.Now().Add(machineGrace / 2)
	m.pause(draw)
}

func (m *machine) remove(draw *rapid.T) {
	path, s := m.pick(draw, "name", func(path string, s *inode) bool { return true })
	m.complete(s)
	m.did("delete %s of %s", path, m.title(s))
	m.delete(path)
	m.pause(draw)
}

// delete removes a name.
func (m *machine) delete(path string) {
	if err := os.Remove(m.path(path)); err != nil {
		m.Fatal(err)
	}
	s := m.byName[path]
	m.unname(path)
	delete(m.links, path)
	m.relink()
	m.unlinked(s)
}

// truncate destroys what is not sent yet.
func (m *machine) truncate(draw *rapid.T) {
	_, s := m.pick(draw, "file", isLive)
	m.complete(s)
	m.did("truncate %s", m.title(s))
	m.cut(s)
	m.appendTo(draw, s)
	m.pause(draw)
}

// cut truncates a file. The lines that follow are of another text.
func (m *machine) cut(s *inode) {
	m.tick()
	// With another number of the device, only its text shows which file a copy is of, and the start of
	// many files is alike.
	m.maybeTwice(s.lines, s.foreign && len(m.content(s)) < 2*leastProof)
	// However much it has by now: what was sent of it is all that an agent can compare, and must be counted.
	m.maybeAgain(s.lines, s.foreign && !m.inLog(s, leastProof))
	if err := s.f.Truncate(0); err != nil {
		m.Fatal(err)
	}
	lines := s.lines
	s.lines = nil
	m.told++
	s.file, s.number, s.sent, s.settled, s.version, s.began = m.told, 0, false, false, false, time.Now()
	s.inherited, s.copied = 0, false
	m.destroy(lines)
	if s.foreign {
		m.forget(s)
	}
	m.touch(s)
}

// content reads a file.
func (m *machine) content(s *inode) []byte {
	fi, err := s.f.Stat()
	if err != nil {
		m.Fatal(err)
	}
	b := make([]byte, fi.Size())
	if _, err := s.f.ReadAt(b, 0); err != nil && len(b) > 0 {
		m.Fatal(err)
	}
	return b
}

// copyAndTruncate is logrotate's copytruncate. What is written between the copy and the
// truncation is destroyed, unless it was sent.
func (m *machine) copyAndTruncate(draw *rapid.T) {
	path, s := m.pick(draw, "file", isLiveFile)
	m.complete(s)
	b := m.content(s)
	to := m.rotated(draw, path)
	x := m.newInode(to)
	// Where the device has another number, and maybe no handles, the next agent does not know the file again once
	// it is truncated. Only the text that was sent shows then that this is a copy of it, and less than 1 KiB proves
	// nothing: under a name that is not followed, or by date and name a rotated one, it is any file.
	proven := s.sent && !(s.foreign && !m.looks() && !m.inLog(s, leastProof))
	x.lines, x.known = slices.Clone(s.lines), proven || s.settled && rotatedFrom(path, to)
	x.original, x.inherited, x.stored, s.copied = s, len(s.lines), proven, true
	m.maybeTwice(s.lines, s.version)
	m.did("copy %s to %s", path, m.title(x))
	if len(b) > 1 && rapid.IntRange(0, 3).Draw(draw, "slowly") == 0 {
		m.maybeTwice(s.lines, m.running && !s.settled) // both are new to the agent
		m.write(x, string(b[:len(b)/2]))
		m.pause(draw)
		b = b[len(b)/2:]
	}
	m.write(x, string(b))
	if rapid.IntRange(0, 3).Draw(draw, "gap") == 0 {
		m.maybeTwice(s.lines, m.running && !s.settled) // both are new to the agent
		m.pause(draw)
		for _, line := range s.lines { // the copy may end before the place that was sent last
			line.unsure = true
		}
		if rapid.Bool().Draw(draw, "written meanwhile") {
			m.appendTo(draw, s)
			m.complete(s)
		}
		m.pause(draw)
	}
	m.did("truncate %s", path)
	m.cut(s)
	m.unlinked(x)
	if rapid.Bool().Draw(draw, "write") {
		m.appendTo(draw, s)
	}
	m.pause(draw)
}

// maybeTwice notes that lines may come twice.
func (m *machine) maybeTwice(lines []*writtenLine, so bool) {
	for _, line := range lines {
		line.twice = line.twice || so
	}
}

// replaceFile puts another version in a file's place, as an editor or rsync does.
func (m *machine) replaceFile(draw *rapid.T) {
	path, s := m.pick(draw, "file", func(path string, s *inode) bool { return isLiveFile(path, s) && len(s.lines) > 1 })
	m.complete(s)
	how := rapid.SampledFrom([]string{"equal", "longer", "shorter", "other end"}).Draw(draw, "version")
	m.told++
	x := m.newInode(rapid.SampledFrom([]string{fmt.Sprintf(".new-%d", m.told), fmt.Sprintf("new-%d.log", m.told)}).Draw(draw, "as"))
	x.lines, x.file, x.number = slices.Clone(s.lines), s.file, s.number
	text := string(m.content(s))
	if how == "shorter" || how == "other end" {
		n := rapid.IntRange(1, len(s.lines)-1).Draw(draw, "lines")
		x.lines, text = x.lines[:n:n], strings.Join(strings.SplitAfter(text, "\n")[:n], "")
		m.told++
		x.file, x.number = m.told, 0
	}
	x.inherited, s.copied = len(x.lines), true
	m.write(x, text)
	certain := s.opened && len(text) >= 2*leastProof && (how == "equal" || how == "longer")
	m.maybeTwice(x.lines, !certain)
	for _, line := range x.lines {
		line.unsure = true
	}
	x.version = true
	if how == "longer" || how == "other end" {
		m.appendTo(draw, x)
		m.complete(x)
	}
	m.did("a version of %s that is %s, as %s", m.title(s), how, m.title(x))
	m.pause(draw)
	for name := range maps.Keys(x.names) {
		m.rename(name, path)
		break
	}
	// Under a name that no table names, the old version is let go and forgotten once it is sent. When the new one is
	// gone, too, the old one holds what was sent of it, as a copy of it would: the rest is sent, which is counted.
	for _, line := range s.lines {
		line.unsure = line.unsure || len(s.names) > 0 && s.seen.IsZero()
	}
	x.began, x.settled = time.Now(), false
	m.did("which replaces %s", path)
	m.pause(draw)
}

// compress replaces a rotated file by one that is not read.
func (m *machine) compress(draw *rapid.T) {
	path, s := m.pick(draw, "file", func(path string, s *inode) bool {
		return !slices.Contains(live, path) && !s.names[path] && filepath.Dir(path) == "."
	})
	m.complete(s)
	b := m.content(s)
	if err := os.WriteFile(m.path(path+".gz"), b, 0o640); err != nil {
		m.Fatal(err)
	}
	fi, err := s.f.Stat()
	if err != nil {
		m.Fatal(err)
	}
	os.Chtimes(m.path(path+".gz"), fi.ModTime(), fi.ModTime())
	m.did("compress %s", m.title(s))
	m.pause(draw)
	m.delete(path)
	m.pause(draw)
}

// hardLink gives a file one more name.
func (m *machine) hardLink(draw *rapid.T) {
	path, s := m.pick(draw, "file", isLiveFile)
	m.told++
	to := rapid.SampledFrom([]string{fmt.Sprintf("link-%d.log", m.told), fmt.Sprintf("link-%d", m.told)}).Draw(draw, "to")
	if err := os.Link(m.path(path), m.path(to)); err != nil {
		m.Fatal(err)
	}
	m.name(s, to, false)
	m.did("link %s", m.title(s))
	m.pause(draw)
}

// symlink makes a symbolic link to a file.
func (m *machine) symlink(draw *rapid.T) {
	path, s := m.pick(draw, "file", isLiveFile)
	m.told++
	to := fmt.Sprintf("symlink-%d.log", m.told)
	if err := os.Symlink(m.path(path), m.path(to)); err != nil {
		m.Fatal(err)
	}
	m.links[to] = path
	m.relink()
	m.did("symlink %s", m.title(s))
	m.pause(draw)
}

// switchLink has s.log lead to a new file in another directory, as in directories of pods.
func (m *machine) switchLink(draw *rapid.T) {
	before := m.byName["s.log"]
	m.told++
	target := fmt.Sprintf("data/%d", m.told)
	x := m.newInode(target)
	if rapid.Bool().Draw(draw, "first") {
		m.appendTo(draw, x)
	}
	if before != nil && before.half != "" {
		m.complete(before)
	}
	if err := os.Symlink(m.path(target), m.path("link.tmp")); err != nil {
		m.Fatal(err)
	}
	if err := os.Rename(m.path("link.tmp"), m.path("s.log")); err != nil {
		m.Fatal(err)
	}
	m.links["s.log"] = target
	m.relink()
	if before != nil {
		before.closed = time.Now().Add(machineGrace / 2)
	}
	m.did("switch s.log to %s", m.title(x))
	m.pause(draw)
}
