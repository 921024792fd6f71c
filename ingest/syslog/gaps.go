package syslog

import (
	"cmp"
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/ingest"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Gaps counts the messages that are missing, by the numbers that senders give their messages:
// the counter of Cisco's devices, and sequenceId of RFC 5424, 7.3.1. There is one for all
// listeners of a process, since a sender may connect again elsewhere. Set the fields, then Watch.
type Gaps struct {
	Metrics *ingest.Metrics                  // counts what is missing; nil: its own
	Notice  func(format string, args ...any) // reports it in the log of lines; nil: nothing does

	once                             sync.Once
	seed                             maphash.Seed
	missing                          map[string]prometheus.Counter // by the kind of numbers
	restarts, uncountable, forgotten prometheus.Counter

	mu         sync.Mutex
	fresh, old map[uint64]*sender // what was not heard of lately is in old alone
}

// sender is the numbers of one sender.
type sender struct {
	count
	kind       string
	peer, host string // of the messages, as the log can have them

	unreported int
	reported   time.Time
}

const (
	ciscoCounter = "cisco"
	sequenceID   = "sequence_id"

	mostSenders = 4096 // that are remembered: half of them new
	mostNotices = 16   // at a time; those of further senders are reported together
)

func (g *Gaps) setUp() {
	g.once.Do(func() {
		g.Metrics = cmp.Or(g.Metrics, new(ingest.Metrics))
		g.seed = maphash.MakeSeed()
		g.fresh, g.old = make(map[uint64]*sender), make(map[uint64]*sender)
		g.missing = g.Metrics.Counters("fanin_syslog_missing_messages_total", "Messages of syslog that did "+
			"not arrive, as the numbers in those of their sender show.", "counter", ciscoCounter, sequenceID)
		g.restarts = g.Metrics.Counter("fanin_syslog_restarts_total", "Senders of syslog that numbered their "+
			"messages anew: they were started again.", "", "")
		g.uncountable = g.Metrics.Counter("fanin_syslog_uncountable_senders_total", "Senders of syslog whose "+
			"messages are numbered by several counters, so that gaps cannot be seen.", "", "")
		g.forgotten = g.Metrics.Counter("fanin_syslog_forgotten_senders_total", "Senders of syslog whose numbers were "+
			"forgotten because there were too many others: a gap before their next message is not seen.", "", "")
		if g.Notice == nil {
			g.Notice = func(string, ...any) {}
		}
	})
}

// see takes the number of a message.
func (g *Gaps) see(m *message, from *Origin) {
	g.setUp()
	var h maphash.Hash
	h.SetSeed(g.seed)
	h.WriteString(from.Host)
	h.WriteByte(byte(m.form)) // no name has this
	h.Write(m.host)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seeLocked(h.Sum64(), m, from) || m.form != rfc5424 {
		return
	}
	// Some number the messages of a host, some those of a program.
	h.WriteByte(' ')
	h.Write(m.app)
	h.WriteByte(' ')
	h.Write(m.pid)
	g.seeLocked(h.Sum64(), m, from)
}

// seeLocked takes the number of a message of the sender with a key. It reports false if its
// numbers are those of several.
func (g *Gaps) seeLocked(key uint64, m *message, from *Origin) bool {
	s := g.fresh[key]
	if s == nil {
		if s = g.old[key]; s == nil {
			s = &sender{count: newCount(m.number), kind: sequenceID, peer: from.Host,
				host: wire.CleanHost(string(m.host))}
			if m.form == cisco {
				s.kind = ciscoCounter
			}
			g.addLocked(key, s)
			return true
		}
		delete(g.old, key)
		g.addLocked(key, s)
	}
	if s.mixed {
		return false
	}
	if s.see(m.number, from.Now) {
		g.restarts.Inc()
	}
	if s.mixed {
		g.uncountable.Inc()
	}
	return !s.mixed
}

// addLocked adds a sender. When there are too many, those that were not heard of since the last
// time are forgotten.
func (g *Gaps) addLocked(key uint64, s *sender) {
	if len(g.fresh) >= mostSenders/2 {
		g.forgotten.Add(float64(len(g.old)))
		g.flushLocked(time.Now().Add(settled), g.old, true)
		clear(g.old)
		g.fresh, g.old = g.old, g.fresh
	}
	g.fresh[key] = s
}

// Watch reports what is missing until ctx ends, and then the rest.
func (g *Gaps) Watch(ctx context.Context) {
	g.setUp()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.flush(time.Now(), false)
		case <-ctx.Done():
			g.flush(time.Now().Add(settled), true)
			return
		}
	}
}

// flush counts and reports what is missing: of each sender once in retry.LogEvery, unless all is
// to be reported.
func (g *Gaps) flush(now time.Time, all bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flushLocked(now, g.fresh, all)
	g.flushLocked(now, g.old, all)
}

func (g *Gaps) flushLocked(now time.Time, senders map[uint64]*sender, all bool) {
	notices, others, ofOthers := 0, 0, 0
	for _, s := range senders {
		n := s.take(now)
		g.missing[s.kind].Add(float64(n))
		s.unreported += n
		if s.unreported == 0 || !all && now.Sub(s.reported) < retry.LogEvery {
			continue
		}
		if notices++; notices <= mostNotices {
			g.Notice("LOST n=%d unit=messages reason=syslog-gap peer=%s host=%s: they did not arrive, as the "+
				"numbers in the messages of this sender show", s.unreported, s.peer, cmp.Or(s.host, "-"))
		} else {
			others, ofOthers = others+1, ofOthers+s.unreported
		}
		s.unreported, s.reported = 0, now
	}
	if others > 0 {
		g.Notice("LOST n=%d unit=messages reason=syslog-gap senders=%d: they did not arrive, as the numbers in the "+
			"messages of these senders show", ofOthers, others)
	}
}
