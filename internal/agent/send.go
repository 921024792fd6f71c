package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/tail"
	"fanin/internal/unpack"
)

// sendJob is what send has to do: files as they were when it started.
type sendJob struct {
	*sendList
	patience time.Duration // without progress
	greeting time.Duration // until a collector answers at first
	source   string        // of all lines; "": as the configuration says
	json     bool          // print a sendResult
	line     *progressLine
	result   sendResult
	reported map[string]bool // files of which something was printed
}

// send follows the files until all that was in them is committed, and prints the result.
func (j *sendJob) send(ctx context.Context, s *settings, stdout io.Writer) error {
	if s.to.Scheme == "udp" {
		return daemon.Exitf(daemon.ExitUsage,
			"send waits for acknowledgements, which udp does not have: use tcp:// or tls://")
	}
	j.announce()
	began := time.Now()
	j.line = newProgressLine(os.Stderr, began)
	err := j.follow(ctx, s)
	j.line.clear()
	j.result.Seconds = time.Since(began).Seconds()
	j.result.Skipped, j.result.Complete = j.skipped, err == nil
	if j.json {
		return errors.Join(err, escape.PrintJSON(stdout, &j.result))
	}
	if err == nil && j.line.out != nil {
		escape.Fprintf(os.Stderr, "%s\n", j.result.text())
	}
	return err
}

// mostNamed is how many files a message names.
const mostNamed = 10

// announce prints which files are not sent.
func (j *sendJob) announce() {
	for i, n := range j.skipped {
		if i == mostNamed {
			escape.Fprintf(os.Stderr, "and %d more files are not sent; --json names all\n", len(j.skipped)-i)
			break
		}
		escape.Fprintf(os.Stderr, "not sent: %s: %s\n", n.Path, n.Reason)
	}
	if len(j.files)+len(j.damaged) == 0 {
		escape.Fprintf(os.Stderr, "there is no file to send\n")
	}
}

// follow runs an agent until the files are committed.
func (j *sendJob) follow(ctx context.Context, s *settings) error {
	tables := j.tables(s)
	s.Agent.File = nil
	a, err := newAgent(s)
	if err != nil {
		return err
	}
	defer func() { a.lock.Close() }() // the current one
	daemon.LimitMemory(j.memory())
	a.tailer.Tables = tables
	following, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	var outcome error
	watching.Go(func() { // ends with following, or ends it
		outcome = j.watch(following, a)
		stop()
	})
	err = a.follow(following)
	stop()
	watching.Wait()
	if outcome != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		return err // the tailer could not go on
	}
	return outcome
}

// memory is how much the garbage collector is to keep the process below, where it can.
func (j *sendJob) memory() int64 {
	need := int64(64<<20 + 16<<10*len(j.files)) // mostly for their goroutines
	if slices.ContainsFunc(j.files, func(f sendFile) bool { return f.archive }) {
		need += 2 * unpack.MaxWindow // zstd --ultra needs so much
	}
	return need
}

// tables makes tables of the files: each is read as the table of the configuration sets that
// names it.
func (j *sendJob) tables(s *settings) []tail.Table {
	tables := s.files()
	other := len(tables) // of files that none names
	tables = append(tables, tail.Table{})
	for _, f := range j.files {
		i := slices.IndexFunc(tables[:other], func(t tail.Table) bool { return t.Names(f.path) })
		if i < 0 {
			i = other
		}
		tables[i].Files = append(tables[i].Files, f.path)
	}
	for i := range tables {
		t := &tables[i]
		slices.Sort(t.Files)
		t.Paths, t.Exclude, t.FromEnd, t.Whole, t.Archives = nil, nil, false, true, true
		t.Source, t.IgnoreOlder = cmp.Or(j.source, t.Source), 0
	}
	return tables
}

// leastPause and mostPause bound the time between two looks at how far the files are.
const (
	leastPause = 20 * time.Millisecond
	mostPause  = time.Second
)

// watch waits until every file is committed, or until waiting longer is of no use, and
// returns why.
func (j *sendJob) watch(ctx context.Context, a *agent) error {
	last, committed := time.Now(), int64(-1)
	patience := j.greeting
	for {
		looked := time.Now()
		now := j.progress(a)
		if len(j.result.Waiting) == 0 {
			return j.result.err()
		}
		trouble := a.shipper.Trouble()
		if now != committed {
			last, committed = time.Now(), now
		}
		if trouble == "" && patience != j.patience {
			last, patience = time.Now(), j.patience
		}
		stopped := false
		select {
		case <-ctx.Done():
			stopped = true
		case <-time.After(min(max(leastPause, 5*time.Since(looked)), mostPause)): // a look at many files takes long
		}
		if stopped || time.Since(last) >= patience {
			return j.result.unfinished(trouble, patience, stopped)
		}
	}
}

// progress notes how far the files are, and shows it. It returns what changes with every
// progress.
func (j *sendJob) progress(a *agent) int64 {
	found := make(map[string]tail.FileStatus, len(j.files))
	for _, f := range a.tailer.Status() {
		found[f.Path] = f
	}
	refused := a.tailer.Unfollowed()
	counts := a.tailer.Counts()
	r := sendResult{SentLines: counts["lines"], SentBytes: counts["bytes"], Damaged: slices.Clone(j.damaged)}
	var work, done float64 // in bytes of files
	unpacked := int64(0)
	for i := range j.files {
		f := &j.files[i]
		work += float64(f.size)
		st, ok := found[f.path]
		if reason := refused[f.path]; !ok && reason != "" {
			j.refuse(&r, f, reason)
			done += float64(f.size)
			continue
		}
		unpacked += st.Unpacked
		part := r.add(f, st, ok)
		done += part * float64(f.size)
		if st.Twin != "" && part == 1 {
			j.say(f.path, "it has the same text as "+st.Twin)
		}
	}
	j.result = r
	if work > 0 {
		done /= work
	}
	j.line.show(time.Now(), r.Bytes, r.SentLines, done)
	return r.Bytes + int64(r.SentBytes) + unpacked
}

// refuse notes a file that is not sent because of what it is: one that was named is
// missing in the log.
func (j *sendJob) refuse(r *sendResult, f *sendFile, reason string) {
	if !f.found {
		r.Refused = append(r.Refused, fileNote{f.path, reason})
		return
	}
	j.say(f.path, reason)
}

// say notes, once, why a file is not sent.
func (j *sendJob) say(path, reason string) {
	if j.reported[path] {
		return
	}
	if j.reported == nil {
		j.reported = make(map[string]bool)
	}
	j.reported[path] = true
	j.skip(path, reason)
	j.line.clear()
	escape.Fprintf(os.Stderr, "not sent: %s: %s\n", path, reason)
}
