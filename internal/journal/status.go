package journal

import (
	"sync"
	"sync/atomic"
	"time"
)

// Status is how far the journal was sent.
type Status struct {
	Sequence string    `json:"sequence,omitempty"` // id of the sequence of the latest entry
	Entry    uint64    `json:"entry,omitempty"`    // number of the latest entry that is done
	Time     time.Time `json:"time,omitzero"`      // when the journal received it
	Trouble  string    `json:"trouble,omitempty"`

	Waiting time.Duration `json:"-"` // for how long the oldest entry that was read waits; 0: none does
	Stalled time.Duration `json:"-"` // for how long nothing was acknowledged although entries wait
}

// counts is what the journal counts.
type counts struct {
	lines, bytes, missing, suppressed, reused, short, restarts, refused atomic.Uint64
}

// Counts are the journal's counters by name.
func (j *Journal) Counts() map[string]uint64 {
	c := &j.counts
	return map[string]uint64{
		"lines": c.lines.Load(), "bytes": c.bytes.Load(), "refused_batches": c.refused.Load(),
		"journal_lines":           c.lines.Load(),
		"journal_missing_entries": c.missing.Load(), "journal_suppressed_messages": c.suppressed.Load(),
		"journal_reused_numbers": c.reused.Load(), "journal_short_messages": c.short.Load(),
		"journal_restarts": c.restarts.Load(),
	}
}

// report is what is reported of the journal.
type report struct {
	mu      sync.Mutex
	done    place
	waits   time.Time // since when the oldest entry that was read waits, or the journal cannot be read; zero: none does
	acked   time.Time // when something was acknowledged last
	trouble string
	refusal string // the reason for which the collector last refused lines
}

// Status is how far the journal was sent. It may be called at any time.
func (j *Journal) Status() Status {
	j.report.mu.Lock()
	defer j.report.mu.Unlock()
	s := Status{Trouble: j.report.trouble}
	if p := &j.report.done; p.number > 0 {
		s.Sequence, s.Entry, s.Time = p.id.String(), p.number, time.UnixMicro(p.time).UTC()
	}
	if r := &j.report; !r.waits.IsZero() {
		s.Waiting = time.Since(r.waits)
		s.Stalled = min(s.Waiting, time.Since(r.acked))
	}
	return s
}

// setTrouble notes why nothing is sent; "": something is. It reports whether that is news.
func (j *Journal) setTrouble(text string) (news bool) {
	j.report.mu.Lock()
	defer j.report.mu.Unlock()
	news = j.report.trouble != text
	j.report.trouble = text
	if text == "" {
		j.report.refusal = ""
	} else if j.report.waits.IsZero() {
		j.report.waits = time.Now()
	}
	return news
}

// setWaits notes since when entries wait.
func (j *Journal) setWaits(since time.Time) {
	j.report.mu.Lock()
	defer j.report.mu.Unlock()
	if j.report.waits.IsZero() {
		j.report.waits = since
	}
}

// setDone notes how far the journal was sent. It reports whether that ends a trouble.
func (j *Journal) setDone(p place) (ended bool) {
	j.report.mu.Lock()
	j.report.done, j.report.waits, j.report.acked = p, time.Time{}, time.Now()
	j.report.mu.Unlock()
	return j.setTrouble("")
}

// reportRefusal reports once for each reason why the collector accepts nothing.
func (j *Journal) reportRefusal(err error) {
	j.counts.refused.Add(1)
	j.report.mu.Lock()
	news := j.report.refusal != err.Error()
	j.report.refusal = err.Error()
	j.report.mu.Unlock()
	j.setTrouble("refused: " + err.Error())
	if news {
		j.Log.Error("the collector refuses lines of the journal; they stay in it, and are retried ever less often",
			"err", err)
	}
}

// reportMissing counts and reports entries that were not in the journal.
func (j *Journal) reportMissing(r *record) {
	j.counts.missing.Add(r.missing)
	j.limited.Warn("missing", "entries are missing in the journal: they were removed before they could be sent, or "+
		"are in damaged files, or in files that the agent may not read", "entries", r.missing, "before", r.number,
		"sequence", r.id, "total", j.counts.missing.Load())
}

// reportSuppressed counts and reports messages that journald did not store.
func (j *Journal) reportSuppressed(n uint64) {
	if n == 0 {
		return
	}
	j.counts.suppressed.Add(n)
	j.limited.Warn("suppressed", "journald did not store messages, as it says in the journal: a service sent more "+
		"than RateLimitBurst= in journald.conf allows, or the kernel's buffer was full", "messages", n,
		"total", j.counts.suppressed.Load())
}
