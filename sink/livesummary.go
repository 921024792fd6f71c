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
// Its counts are in memory, and each minute and at the end they are saved as the summary of the
// file so far. After a start, the text that came after that is counted from the file (see
// summarizer); until then, before is nil and a histogram is incomplete.
type liveSummary struct {
	mu       sync.Mutex     // the writer holds it for an addition, others for encode at most
	file     summary.File   // which file it is, without its size
	from, to int64          // bytes of the file that tally counted; to is -1 if there are others between
	tally    *summary.Tally // of the text between these two
	before   *summary.Tally // of the text before from; nil: not counted, or there is none
	closed   []closedTally  // of files that were rotated, until their summaries are written

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

// begin begins another live file, which has its size already.
func (l *liveSummary) begin(file summary.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tally != nil && (l.from == 0 || l.before != nil) && len(l.closed) < maxClosedTallies {
		l.closed = append(l.closed, closedTally{l.file.Generation, l.to, l.tally, l.before})
	}
	l.file, l.from, l.to, l.tally, l.before = file, file.Size, file.Size, summary.NewTally(), nil
	l.shown, l.early = nil, nil
}

// add counts lines that are in the file now, which ends at byte to with these n bytes. If
// they do not follow what was counted before, the file is counted again when it is closed.
func (l *liveSummary) add(counts []line.Count, to int64, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to-int64(n) != l.to {
		to = -1 // and so it stays
	}
	l.to = to
	for _, c := range counts {
		l.tally.Add(summary.Series{Host: c.Host, Source: c.Source}, c.Minute, uint64(c.Lines))
	}
}

// uncounted returns the live file as it was before its lines were counted: of no size if it was
// empty, or was counted.
func (l *liveSummary) uncounted() summary.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file
	if f.Size = l.from; l.before != nil {
		f.Size = 0
	}
	return f
}

// setBefore sets what was counted of a file as it was before.
func (l *liveSummary) setBefore(f summary.File, t *summary.Tally) {
	early := t.Append(nil, f)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file.Generation == f.Generation {
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

// now returns summaries of the live file, the earlier text first; the last one has its size. complete: they
// are of all of it.
func (l *liveSummary) now(fresh bool) (generation uint64, parts [][]byte, complete bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown == nil || fresh || time.Since(l.shownAt) > liveAge {
		f := l.file
		f.Size = l.to
		l.shown, l.shownAt = l.tally.Append(nil, f), time.Now()
	}
	if l.early != nil {
		parts = append(parts, l.early)
	}
	return l.file.Generation, append(parts, l.shown), l.from == 0 || l.early != nil
}

// whole returns one summary of all that is in the live file, and how much that is; nil if that is not known.
func (l *liveSummary) whole() (f summary.File, text []byte, err error) {
	_, parts, complete := l.now(true)
	last, err := summary.ParseHead(parts[len(parts)-1])
	if err != nil || !complete || last.File.Size < 0 {
		return f, nil, err
	}
	if len(parts) == 1 {
		return last.File, parts[0], nil
	}
	t := summary.NewTally()
	for _, text := range parts {
		sum, err := summary.Parse(text)
		if err != nil {
			return f, nil, err
		}
		t.AddSummary(sum)
	}
	return last.File, t.Append(nil, last.File), nil
}

// summaryFile returns what the summary of a closed file is of; false if there is no such file.
func (s *Sink) summaryFile(generation uint64) (f summary.File, ok bool) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	for _, g := range s.view.catalog.generations {
		if g.number == generation {
			return g.summaryFile(g.size), g.hasSummary()
		}
	}
	return f, false
}

// summaryFiles returns what the summaries of all closed files are of.
func (s *Sink) summaryFiles() map[uint64]summary.File {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	files := make(map[uint64]summary.File)
	for _, g := range s.view.catalog.generations {
		if g.hasSummary() {
			files[g.number] = g.summaryFile(g.size)
		}
	}
	return files
}

func (g *generation) hasSummary() bool { return g.state == statePlain || g.state == stateGzip }

// summaryFile returns what a summary of so many bytes of g is of.
func (g *generation) summaryFile(size int64) summary.File {
	return summary.File{Generation: g.number, Inode: g.inode, Opened: g.opened.UnixMicro(), Size: size}
}
