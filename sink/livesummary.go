package sink

import (
	"sync"
	"time"

	"fanin/sink/line"
	"fanin/sink/summary"
)

// liveSummary counts the lines of the live file as the writer appends them. The writer lays
// out every line with its names and counts them as it does, so that costs one addition for each
// series of a group: a goroutine that read the file behind the writer would have to parse each line.
//
// Its counts are in memory alone. After a start, the text that was in the file before is
// counted from the file (see summarizer); until then, before is nil and a histogram is
// incomplete.
type liveSummary struct {
	mu         sync.Mutex // the writer holds it for an addition, others for encode at most
	generation uint64
	from, to   int64          // bytes of the file that tally counted
	tally      *summary.Tally // of the text between these two
	before     *summary.Tally // of the text before from; nil: not counted, or there is none
	closed     []closedTally  // of files that were rotated, until their summaries are written

	shown   []byte // tally as it was at shownAt
	shownAt time.Time
	early   []byte // before, encoded
}

// closedTally is what was counted of a file that was rotated.
type closedTally struct {
	generation   uint64
	size         int64 // bytes of text that are counted, from the beginning of the file
	tally, early *summary.Tally
}

// maxClosedTallies is how many files may wait for their summaries in memory. What is left out
// is counted again from the file.
const maxClosedTallies = 4

// begin begins another live file, which holds size bytes already.
func (l *liveSummary) begin(generation uint64, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tally != nil && (l.from == 0 || l.before != nil) && len(l.closed) < maxClosedTallies {
		l.closed = append(l.closed, closedTally{l.generation, l.to, l.tally, l.before})
	}
	l.generation, l.from, l.to, l.tally, l.before = generation, size, size, summary.NewTally(), nil
	l.shown, l.early = nil, nil
}

// add counts lines that are in the file now, which ends at byte to with these n bytes. If
// they do not follow what was counted before, the file is counted again when it is closed.
func (l *liveSummary) add(counts []line.Count, to int64, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to-int64(n) == l.to {
		l.to = to
	}
	for _, c := range counts {
		l.tally.Add(summary.Series{Host: c.Host, Source: c.Source}, c.Minute, uint64(c.Lines))
	}
}

// uncounted returns how much of the live file was there before its lines were counted, 0 if
// that is nothing, or was counted.
func (l *liveSummary) uncounted() (generation uint64, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before != nil {
		return l.generation, 0
	}
	return l.generation, l.from
}

// setBefore sets what was counted of the text before from.
func (l *liveSummary) setBefore(generation uint64, t *summary.Tally) {
	early := t.Append(nil, summary.File{Generation: generation})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.generation == generation {
		l.before, l.early = t, early
	}
}

// takeClosed returns what was counted of rotated files. It is the caller's now.
func (l *liveSummary) takeClosed() []closedTally {
	l.mu.Lock()
	defer l.mu.Unlock()
	closed := l.closed
	l.closed = nil
	return closed
}

// liveAge is how old the counts of the live file may be in a histogram, so that many requests
// do not hold the writer up.
const liveAge = time.Second

// now returns summaries of the live file, the earlier text first. complete: they are of all of it.
func (l *liveSummary) now(fresh bool) (generation uint64, parts [][]byte, complete bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown == nil || fresh || time.Since(l.shownAt) > liveAge {
		l.shown, l.shownAt = l.tally.Append(nil, summary.File{Generation: l.generation}), time.Now()
	}
	if l.early != nil {
		parts = append(parts, l.early)
	}
	return l.generation, append(parts, l.shown), l.from == 0 || l.early != nil
}

// summaryFile returns what the summary of a closed file is of; false if there is no such file.
func (s *Sink) summaryFile(generation uint64) (f summary.File, ok bool) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, g := range s.view.catalog.generations {
		if g.number == generation {
			return summary.File{Generation: g.number, Inode: g.inode, Opened: g.opened.UnixMicro(), Size: g.size},
				g.state == statePlain || g.state == stateGzip
		}
	}
	return f, false
}
