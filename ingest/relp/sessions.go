package relp

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"time"

	"fanin/internal/wire"
)

// Sessions is what is known of the sessions of all peers, so that what a peer sends again after a
// break is recognized. All listeners of a process share one. Set the fields before the first
// session.
//
// # Why a repeat is recognized, whatever breaks
//
// A client holds a frame until it has read its answer, and sends those that it holds again behind
// the next open: all of them, in order, before anything new. Each frame is held in one place at a
// time. So:
//
//   - The hashes of a session's frames are committed in one WAL frame with their lines. After a
//     kill or a power cut the log has both or neither. The list that Sessions has in memory
//     follows the commit, and no answer is sent before.
//   - The frames that a client sends again are a run at the end of what was committed, followed by
//     frames that were not. The run is no longer than the client's window, so it is among the
//     hashes if the client's window is not larger than ours.
//   - A session whose first frames are such a run goes on with the old session: it takes over its
//     id and its hashes. That changes nothing in the log, so nothing can happen in between: if it
//     breaks again before it commits anything, the old session is as it was, and the next one
//     finds a run in it again. If it commits more, these hashes follow those of the run.
//   - While a session is live, or what it sent is not committed yet, it is not compared: its end
//     is not known. A new session of the peer therefore waits for each older one that has broken,
//     for a moment for those that may be about to, and, if its first frames may be among those that
//     an older one is committing, for the end of that.
//   - After a close, the client has given up what it holds. The log forgets the session before the
//     close is answered.
//   - What was read and not committed was not answered. It may be dropped at any time.
//
// A line that is lost would need a frame that was never in the log before, and that equals the
// last one of a session that broke. So if a run of several lengths matches, the shortest counts:
// the client may have sent the rest anew. These lines are counted as maybe doubled.
type Sessions struct {
	// Remembered returns what the log remembers, by name. nil: nothing.
	Remembered func(wire.ExtensionKind) map[string][]byte

	once    sync.Once
	mu      sync.Mutex
	peers   map[string][]*session // of each peer those that began first are first
	blocks  int                   // that the log has
	deletes []string              // names of blocks that the log is to forget
	swept   time.Time
	allLive bool // none has ended since the last search for one to forget
	lost    int  // sessions that are forgotten, which a repeat could have continued
}

// Bounds of what is remembered.
const (
	maxBlocks   = 8 << 10            // of all sessions: 16 MiB of hashes
	maxEnded    = 64                 // sessions of a peer that have ended
	maxAge      = 7 * 24 * time.Hour // of a session, from its end or the start of the process
	maxDeletes  = 512                // in one batch
	sweepPeriod = time.Minute
)

// load reads what the log remembers. The process that all these sessions were with has ended.
func (m *Sessions) load() {
	m.once.Do(func() {
		m.peers = make(map[string][]*session)
		if m.Remembered == nil {
			return
		}
		found := make(map[sessionID][]block)
		for name, value := range m.Remembered(wire.ExtensionRELP) {
			if b, err := parseBlock(name, value); err == nil {
				found[b.session] = append(found[b.session], b)
			} else {
				m.deletes = append(m.deletes, name)
			}
		}
		var all []*session
		for id, blocks := range found {
			s := join(id, blocks)
			s.ended = blocks[len(blocks)-1].at
			m.blocks += s.blocks()
			all = append(all, s)
		}
		slices.SortFunc(all, func(a, b *session) int {
			return cmp.Or(a.ended.Compare(b.ended), bytes.Compare(a.id[:], b.id[:]))
		})
		now := time.Now()
		for _, s := range all {
			s.ended = now // it could not be continued before
			m.peers[s.peer] = append(m.peers[s.peer], s)
		}
	})
}

// join makes a session of its blocks, and sorts them. Of a session with a gap, which no commit
// leaves, it has what follows the gap.
func join(id sessionID, blocks []block) *session {
	slices.SortFunc(blocks, func(a, b block) int { return cmp.Compare(a.number, b.number) })
	first := len(blocks) - 1
	for first > 0 && blocks[first-1].number+1 == blocks[first].number && len(blocks[first-1].hashes) == blockFrames {
		first--
	}
	s := &session{id: id, peer: blocks[first].peer, begin: blocks[first].number * blockFrames}
	for _, b := range blocks[first:] {
		s.hashes = append(s.hashes, b.hashes...)
	}
	return s
}

// begin adds a live session of a peer.
func (m *Sessions) begin(peer string, c *conn) *session {
	m.load()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.swept) >= sweepPeriod {
		m.swept = now
		m.forgetOldLocked(now)
	}
	s := newSession(peer)
	s.conn = c
	m.peers[peer] = append(m.peers[peer], s)
	return s
}

// forgotten returns how many sessions were forgotten since the last call.
func (m *Sessions) forgotten() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.lost
	m.lost = 0
	return n
}

// close ends a session that its peer closes, and returns what the log is to forget with it.
func (m *Sessions) close(s *session) (x change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x.delete(s.names(nil))
	m.blocks -= s.blocks()
	m.dropLocked(s)
	return x
}

// finish ends a session that its peer may continue.
func (m *Sessions) finish(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.conn, s.ended, m.allLive = nil, time.Now(), false
	if len(s.hashes) == 0 {
		m.forgetLocked(s)
		return
	}
	ended := 0
	var oldest *session
	for _, o := range m.peers[s.peer] {
		if o.conn == nil {
			ended++
			if oldest == nil || o.ended.Before(oldest.ended) {
				oldest = o
			}
		}
	}
	if ended > maxEnded {
		m.lost++
		m.forgetLocked(oldest)
	}
}

// forgetLocked forgets a session. The log forgets it with a later batch.
func (m *Sessions) forgetLocked(s *session) {
	m.deletes = s.names(m.deletes)
	m.blocks -= s.blocks()
	m.dropLocked(s)
}

// dropLocked removes a session from the list of its peer.
func (m *Sessions) dropLocked(s *session) {
	list := slices.DeleteFunc(m.peers[s.peer], func(o *session) bool { return o == s })
	if m.peers[s.peer] = list; len(list) == 0 {
		delete(m.peers, s.peer)
	}
}

func (m *Sessions) forgetOldLocked(now time.Time) {
	var old []*session
	for _, list := range m.peers {
		for _, s := range list {
			if s.conn == nil && now.Sub(s.ended) > maxAge {
				old = append(old, s)
			}
		}
	}
	for _, s := range old {
		m.lost++
		m.forgetLocked(s)
	}
}

// change is what one commit changes of what the log remembers.
type change struct {
	extensions []wire.Extension
	hashes     []uint64 // of frames that are remembered from now on
	window     int
	deleted    []string // names of blocks that the log forgets
}

// change returns what the log is to remember and to forget together with frames of s.
func (m *Sessions) change(s *session, hashes []uint64, window int) (x change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(hashes) > 0 {
		s.flying, s.flight = hashes, s.flight+1
		more := 1 + len(hashes)/blockFrames
		for m.blocks+more > maxBlocks && m.evictLocked() {
		}
		if m.blocks+more > maxBlocks { // all are live: each keeps less
			window = min(window, blockFrames)
		}
		if x.window = window; m.blocks+more <= maxBlocks || len(s.hashes) > 0 {
			x.hashes, x.extensions = hashes, s.record(hashes, window, time.Now())
		}
	}
	n := min(len(m.deletes), maxDeletes)
	x.delete(slices.Clone(m.deletes[:n]))
	m.deletes = slices.Delete(m.deletes, 0, n)
	return x
}

// delete makes the log forget blocks.
func (x *change) delete(names []string) {
	x.deleted = names
	for _, name := range names {
		x.extensions = append(x.extensions, wire.Extension{Kind: wire.ExtensionRELP, Name: name})
	}
}

// committed notes that the log has a change.
func (m *Sessions) committed(s *session, x *change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.flying = nil
	m.blocks -= s.blocks()
	s.committed(x.hashes, x.window)
	m.blocks += s.blocks()
}

// failed notes that the log may not have a change.
func (m *Sessions) failed(s *session, x *change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.flying = nil
	m.deletes = append(m.deletes, x.deleted...)
}

// evictLocked forgets the session that ended first.
func (m *Sessions) evictLocked() bool {
	if m.allLive {
		return false
	}
	var oldest *session
	for _, list := range m.peers {
		for _, s := range list {
			if s.conn == nil && (oldest == nil || s.ended.Before(oldest.ended)) {
				oldest = s
			}
		}
	}
	if oldest == nil {
		m.allLive = true
		return false
	}
	m.lost++
	m.forgetLocked(oldest)
	return true
}
