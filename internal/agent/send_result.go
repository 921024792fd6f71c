package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/escape"
	"fanin/internal/tail"
)

// sendResult is what `send --json` prints.
type sendResult struct {
	Complete  bool       `json:"complete"`   // everything that could be read is committed, and nothing was damaged
	Files     int        `json:"files"`      // that are committed as they are
	Bytes     int64      `json:"bytes"`      // of text that are committed, by this run or an earlier one
	SentBytes uint64     `json:"sent_bytes"` // of them, by this run
	SentLines uint64     `json:"sent_lines"`
	Seconds   float64    `json:"seconds"`
	Skipped   []fileNote `json:"skipped,omitempty"` // found in directories and not sent, or sent under another name
	Damaged   []fileNote `json:"damaged,omitempty"` // archives of which the text up to the damage is committed
	Refused   []fileNote `json:"refused,omitempty"` // named, and not sent because of what they are
	Waiting   []fileNote `json:"waiting,omitempty"` // not committed, or not to their ends
}

// add adds how far a file is, and returns the part of it that is committed.
func (r *sendResult) add(f *sendFile, st tail.FileStatus, started bool) (part float64) {
	size := f.size
	if f.archive {
		size = st.Size
	}
	acked := int64(0)
	if started && st.Agreed {
		acked = min(st.Acked, size)
	}
	r.Bytes += acked
	if size > 0 {
		part = float64(acked) / float64(size)
	}
	switch {
	case !started:
		r.Waiting = append(r.Waiting, fileNote{f.path, "nothing was sent"})
	case size == 0 && !f.archive:
		part = 1 // there is nothing to commit, whatever else it may become
		r.Files++
	case !st.Agreed || acked < size:
		what := fmt.Sprintf("%d of %d bytes are committed", st.Acked, size)
		r.Waiting = append(r.Waiting, fileNote{f.path, strings.TrimSuffix(what+": "+st.Reason, ": ")})
	default:
		part = 1
		r.finish(f, st)
	}
	return part
}

// finish adds a file that is committed as far as it can be read.
func (r *sendResult) finish(f *sendFile, st tail.FileStatus) {
	if st.Damage == "" {
		r.Files++
		return
	}
	r.Damaged = append(r.Damaged, fileNote{f.path, fmt.Sprintf("%s; %d bytes of text before that are committed",
		st.Damage, st.Size)})
}

// names lists files and what is said of them, a few of them.
func names(list []fileNote) string {
	var b strings.Builder
	for i, n := range list {
		if i == mostNamed {
			b.WriteString(fmt.Sprintf("\nand %d more files", len(list)-i))
			break
		}
		b.WriteString("\n" + n.Path + ": " + n.Reason)
	}
	return b.String()
}

// err returns what is missing of what was named, although nothing waits.
func (r *sendResult) err() error {
	var problems []error
	if len(r.Damaged) > 0 {
		problems = append(problems, fmt.Errorf("damaged:%s", names(r.Damaged)))
	}
	if len(r.Refused) > 0 {
		problems = append(problems, fmt.Errorf("not sent:%s", names(r.Refused)))
	}
	if err := errors.Join(problems...); err != nil {
		return &daemon.Exit{Code: daemon.ExitData, Err: err}
	}
	return nil
}

// unfinished returns why send gives up. trouble is why there is no connection.
func (r *sendResult) unfinished(trouble string, patience time.Duration, stopped bool) error {
	rest := names(r.Waiting)
	if err := r.err(); err != nil {
		rest += "\n" + err.Error()
	}
	switch {
	case trouble != "":
		return daemon.Exitf(daemon.ExitUnreachable, "not everything was sent: there is no connection to the "+
			"collector: %s%s", escape.String(trouble), rest)
	case stopped:
		return daemon.Exitf(daemon.ExitLater, "not everything was committed (it was stopped); committed bytes are not "+
			"sent again%s", rest)
	}
	return daemon.Exitf(daemon.ExitLater, "not everything was committed (nothing more was committed for %v); "+
		"committed bytes are not sent again%s", patience, rest)
}

// text is the result for a terminal.
func (r *sendResult) text() string {
	took := time.Duration(r.Seconds * float64(time.Second)).Round(10 * time.Millisecond)
	text := fmt.Sprintf("%d files, %s are committed; %s lines, %s, were sent now, in %s", r.Files,
		sizeText(float64(r.Bytes)), grouped(r.SentLines), sizeText(float64(r.SentBytes)), took)
	return text
}
