//go:build !windows

package tail

import (
	"os"
	"path/filepath"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// What happens to the agent, to its collector and to the clock.

// offBeat is how much later than everything else in a sequence the agent's clock strikes: it never looks at a
// file in the middle of a change, such as between a write and the setting of the file's time.
const offBeat = 137 * time.Microsecond

// launch starts an agent.
func (m *machine) launch() {
	m.did("the agent starts")
	m.unwelcome = m.away
	time.Sleep(offBeat)
	m.run()
	m.running, m.since = true, time.Now()
	synctest.Wait()
	time.Sleep(time.Millisecond - offBeat)
}

// startAgent starts an agent, perhaps without its state, perhaps after a reboot that gave
// the file system another number.
func (m *machine) startAgent(draw *rapid.T) {
	if m.running {
		draw.Skip()
	}
	if rapid.IntRange(0, 3).Draw(draw, "another device") == 0 {
		m.otherDevice(rapid.IntRange(0, 3).Draw(draw, "what changes"))
	}
	if rapid.IntRange(0, 3).Draw(draw, "state lost") == 0 {
		os.RemoveAll(m.state)
		os.Mkdir(m.state, 0o750)
		m.did("the agent's state is lost")
		for _, s := range m.inodes {
			m.maybeAgain(s.lines, s.seen.IsZero()) // the collector forgot those that were sent and let go
			// A stream that went on in a copy is that of the copy: which file it was before is lost with the state.
			s.stored = s.stored && m.inLog(s, 0)
			if s.known = s.stored; !m.reachable(s) {
				m.lose(s)
			}
		}
	}
	m.launch()
}

// otherDevice changes what is remembered of the file system's numbers.
func (m *machine) otherDevice(how int) {
	if _, err := os.Stat(filepath.Join(m.state, "marks")); err != nil {
		return
	}
	m.did("the device has another number (%d)", how)
	for _, s := range m.inodes {
		m.maybeTwice(s.lines, s.original != nil)
		if s.foreign = true; !s.sent {
			m.forget(s)
		}
	}
	written := m.positionsWritten()
	m.changePositions(func(p *savedPosition) {
		p.device += 7
		switch how {
		case 1:
			p.system += 7
		case 2:
			p.system = 0
		case 3:
			p.handle = nil
		}
	})
	m.datePositions(written)
}

// forget notes that neither the number of a file nor what it holds shows which file it was.
func (m *machine) forget(s *inode) {
	if s.known, s.stored = false, false; !m.reachable(s) {
		m.lose(s)
	}
}

// positionsWritten is when the saved positions were written, by the simulated clock.
func (m *machine) positionsWritten() time.Time {
	m.tailer.positions.mu.Lock()
	defer m.tailer.positions.mu.Unlock()
	return m.tailer.positions.saved
}

func (m *machine) datePositions(at time.Time) {
	os.Chtimes(filepath.Join(m.state, "marks"), at, at) // an error: there are none
}

// stop is an orderly end of the agent.
func (m *machine) stop(draw *rapid.T) {
	if !m.running {
		draw.Skip()
	}
	m.stopAgent()
}

func (m *machine) stopAgent() {
	m.did("the agent stops")
	m.haltFor(machineStop + machinePoll)
	m.datePositions(m.positionsWritten())
	m.stopped(true)
}

// haltFor ends the agent, and lets as much time pass as that may take, so that a sequence
// does not depend on it.
func (m *machine) haltFor(d time.Duration) {
	m.observe()
	m.running = false
	ended := time.Now().Add(d)
	m.halt()
	time.Sleep(time.Until(ended))
	for name, n := range m.tailer.Counts() {
		m.counted[name] += n
	}
}

// kill ends the agent at once: its saved positions are those that it wrote last.
func (m *machine) kill(draw *rapid.T) {
	if !m.running {
		draw.Skip()
	}
	m.did("the agent is killed")
	path := filepath.Join(m.state, "marks")
	synctest.Wait()
	b, err := os.ReadFile(path)
	written := m.positionsWritten()
	m.link.set(func() { m.link.dead = true })
	m.haltFor(machineStop + machinePoll)
	if err != nil {
		os.Remove(path)
	} else if err := os.WriteFile(path, b, 0o640); err != nil {
		m.Fatal(err)
	}
	m.datePositions(written)
	m.stopped(false)
}

// stopped notes what only the run that ended had. In an orderly stop it saved the positions
// of all files that it had open.
func (m *machine) stopped(orderly bool) {
	m.observe()
	for _, s := range m.inodes {
		s.known = s.stored || orderly && (s.known || s.opened)
		s.opened, s.settled = false, false
		m.maybeUnproven(s)
		if !m.reachable(s) {
			m.lose(s)
		}
	}
}

// reachable reports whether the next agent finds a file: a table names it, or it is known
// and still in its directory.
func (m *machine) reachable(s *inode) bool {
	if !s.seen.IsZero() {
		return true
	}
	for path, link := range s.names {
		if dir := filepath.Dir(path); !link && s.known && (dir == "." || dir == "data") {
			return true
		}
	}
	return false
}

// reload changes the settings of the table, removes it, or has it be back.
func (m *machine) reload(draw *rapid.T) {
	if !m.running {
		draw.Skip()
	}
	m.putIntoForce(m.tables + rapid.IntRange(1, 2).Draw(draw, "tables"))
	m.pause(draw)
}

func (m *machine) putIntoForce(tables int) {
	removed := m.tables%2 == 0 && tables%2 == 1
	if m.tables%2 == 1 && tables%2 == 0 {
		m.returned = time.Now()
	}
	if m.tables = tables; removed {
		m.observe()
	}
	m.did("the tables are %v", m.inForce())
	time.Sleep(offBeat)
	m.tailer.Reload(m.inForce())
	synctest.Wait()
	time.Sleep(time.Millisecond - offBeat)
	if removed {
		m.stopped(true)
	}
	m.since = time.Now()
}

// goAway has the collector be away.
func (m *machine) goAway(draw *rapid.T) {
	if m.away {
		draw.Skip()
	}
	m.did("the collector goes away")
	m.away = true
	m.link.set(func() { m.link.away = true })
}

func (m *machine) comeBackAgain(draw *rapid.T) {
	if !m.away {
		draw.Skip()
	}
	m.comeBack()
}

// comeBack has the collector be there again.
func (m *machine) comeBack() {
	if !m.away {
		return
	}
	m.did("the collector is back")
	m.away = false
	m.link.set(func() { m.link.away = false })
	if m.running {
		if m.unwelcome {
			m.since = time.Now()
		}
		m.unwelcome = false
		time.Sleep(offBeat)
		m.tailer.Welcome(m.collector.welcome(), 1<<20)
		synctest.Wait()
		time.Sleep(time.Millisecond - offBeat)
	}
}

// wait lets some time pass.
func (m *machine) wait(draw *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{machinePoll / 2, machinePoll, 3 * machinePoll, machineGrace + machinePoll,
		machineSettle + machinePoll, machineLetGo + machinePoll, machineForget + machinePoll}).Draw(draw, "wait")
	m.did("wait %v", d)
	m.pass(d)
}

// pause lets less time pass, or none.
func (m *machine) pause(draw *rapid.T) {
	m.pass(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 50 * time.Millisecond, machinePoll, 3 * machinePoll}).Draw(draw, "pause"))
}
