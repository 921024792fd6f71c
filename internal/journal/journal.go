// Package journal follows the journal of systemd and sends its entries, in batches, to one
// wire.Appender: each once, in order.
//
// Journalctl reads the files, and prints every entry with the id of its sequence and its
// number there. A sequence is a stream of the log, so the log itself knows how far it was
// sent. Whatever fails, journalctl is started again at the last entry that the log has.
package journal

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Settings configure a Journal. Zero fields have the defaults that are named.
type Settings struct {
	Units     []string // names or patterns of units whose entries are sent; default: all
	Matches   []string // FIELD=VALUE, as journalctl takes them; default: all entries
	Fields    []string // that lines have as attributes; default: none
	Source    string   // of the lines, with {unit}, {identifier} and {pid}; default "{unit}"
	PID       bool     // the id of the process follows the source, as in nginx[17]
	Directory string   // of the journal; default: this machine's
	State     string   // directory in which it is saved how far the journal was sent; default: it is not saved

	Out     wire.Appender // accepts the lines; required
	Log     *slog.Logger  // default: discard
	MaxLine int           // longer lines are split; default wire.MaxLine

	// Quiet is after how long without any entry journalctl is started again, as it may
	// hang; default 5 min. It must print the entry at which it resumes within AnswerWithin;
	// default 30 s.
	Quiet, AnswerWithin time.Duration
	Refused             time.Duration // pause after a refusal, ever longer; default 1 min
}

// labelRoom is the space in a batch that the labels of a line may take, but for its attributes.
const labelRoom = 1 << 10

// Journal follows the journal. Set the Settings, then call Run. Welcome may be called before
// Run and at any time after.
type Journal struct {
	Settings
	session session
	counts  counts
	report  report
	limited *retry.Log

	// Of Run's goroutine.
	filter    filter
	streams   map[sequenceID]*stream // that the log has
	restarted map[sequenceID]uint64  // the last entries for which journalctl was started again
	done      map[sequenceID]place   // the latest entry of each sequence of which nothing more is to be sent
	last      place                  // the latest of all of them; no number: none
	ours      bool                   // last was read by this process
	whole     bool                   // the next run reads the whole journal
	doubted   place                  // see reader
	runs      int                    // of journalctl
	saved     time.Time              // when the places were written last
	begun     time.Time              // when the latest run was started
}

// Welcome tells the journal what a collector answered at the start of a session, and the
// most text that a batch may have in this session.
func (j *Journal) Welcome(w wire.Welcome, maxText int) { j.session.begin(&w, maxText) }

// Valid returns what is wrong with the settings.
func (s *Settings) Valid() error {
	_, err := newFilter(s.Units, s.Matches, s.Fields, "")
	_, serr := newSourceNamer(s.Source, s.PID)
	return errors.Join(err, serr)
}

func (j *Journal) defaults() (err error) {
	j.Quiet = cmp.Or(j.Quiet, 5*time.Minute)
	j.AnswerWithin = cmp.Or(j.AnswerWithin, 30*time.Second)
	j.MaxLine = cmp.Or(j.MaxLine, wire.MaxLine)
	if j.Log == nil {
		j.Log = slog.New(slog.DiscardHandler)
	}
	j.limited = retry.NewLog(j.Log)
	j.streams, j.done = make(map[sequenceID]*stream), make(map[sequenceID]place)
	j.restarted = make(map[sequenceID]uint64)
	id := ""
	if j.Directory == "" { // else journals of other machines are wanted too
		b, _ := os.ReadFile("/etc/machine-id")
		id = strings.TrimSpace(string(b))
	}
	j.filter, err = newFilter(j.Units, j.Matches, j.Fields, id)
	return err
}

func (j *Journal) refusedPause() time.Duration { return cmp.Or(j.Refused, time.Minute) }

// Run follows the journal until ctx ends.
func (j *Journal) Run(ctx context.Context) error {
	if err := j.defaults(); err != nil {
		return err
	}
	w, err := j.session.await(ctx)
	if err != nil {
		return err
	}
	j.restore()
	j.adopt(w)
	defer j.save(true)
	failed := retry.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second}
	for ctx.Err() == nil {
		progressed, err := j.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if progressed {
			failed.Reset()
		}
		if j.again(ctx, err) || progressed && errors.Is(err, errBehind) {
			continue
		}
		pause := failed.Next()
		if j.setTrouble(err.Error()) {
			j.limited.Warn("journalctl", "the journal cannot be read now; its entries stay in it, and reading resumes "+
				"at the last one that was sent", "err", err, "next_try", pause)
		}
		retry.Pause(ctx, pause)
	}
	return ctx.Err()
}

// adopt begins where the log has the journal's streams. Where another incarnation of the log
// has a stream, the first batch decides: see stream.open.
func (j *Journal) adopt(w *wire.Welcome) {
	log := logID{w.Log, w.Incarnation}
	for i := range w.Streams {
		x := &w.Streams[i]
		id, ok := parseIdentity(x.Identity)
		if !ok || x.Stream != streamID(id) {
			continue
		}
		s := j.streams[id]
		if s == nil {
			s = newStream(j, id)
			j.streams[id] = s
		} else if s.log != log {
			continue
		}
		if at := s.seq.Watermark(); x.Epoch != at.Epoch || x.Offset < at.Offset {
			delete(j.done, id) // what was read since is not in the log
		}
		s.seq.Adopt(x.Watermark)
		s.log = log
	}
	for id, s := range j.streams {
		p := s.latest()
		if p.number > j.done[id].number {
			j.done[id] = p
		}
		if p = j.done[id]; p.number > 0 && p.time > j.last.time {
			j.last = p
		}
	}
}

// doubtEvery is the shortest time between two runs of which the second one looks for entries
// that the first one missed.
const doubtEvery = time.Second

// again prepares the next run after one that ended for a reason of our own, which is no fault.
func (j *Journal) again(ctx context.Context, err error) bool {
	doubt := new(doubtError)
	switch {
	case errors.Is(err, errElsewhere):
		j.rewind()
	case errors.As(err, &doubt):
		// Entries that the agent may not read are missing all the time.
		retry.Pause(ctx, doubtEvery-time.Since(j.begun))
		j.doubted = doubt.after
	case errors.Is(err, errNoAnchor) && !j.whole:
		j.whole = true
	default:
		return false
	}
	return true
}

// rewind makes the places that the log has those from which reading continues, where they are
// before those that were read.
func (j *Journal) rewind() {
	j.last, j.ours = place{}, false
	for id, s := range j.streams {
		if p := s.latest(); s.back || p.number > j.done[id].number {
			j.done[id], s.back = p, false
		}
		p := j.done[id]
		if p.number == 0 {
			delete(j.done, id)
		}
		if p.number > 0 && p.time > j.last.time {
			j.last = p
		}
	}
}

// overlap is how far back a run looks, in files of sequences other than that of the last
// entry, when this process has read them before.
const overlap = 10 * time.Minute

// begin returns where the next run of journalctl begins, as its argument.
func (j *Journal) begin(now int64) (cursor string) {
	if j.last.number == 0 || j.whole {
		return ""
	}
	if j.Directory == "" && j.ours && j.last.time <= now {
		return j.last.cursor(max(0, j.last.time-overlap.Microseconds()))
	}
	return j.last.cursor(0) // other clocks: what is older there may be new
}

// follow runs journalctl once, and sends what it prints.
func (j *Journal) follow(ctx context.Context) (progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newReader(j.done)
	r.filter, r.out, r.doubted = j.filter, newBuffer(), j.doubted
	if r.sources, err = newSourceNamer(j.Source, j.PID); err != nil {
		return false, err
	}
	r.line = min(j.MaxLine, j.session.batchText()-labelRoom)
	if len(j.Fields) > 0 {
		r.line = min(r.line, j.session.batchText()-labelRoom-wire.MaxAttributes)
	}
	j.begun = time.Now()
	r.started = j.begun.UnixMicro()
	cursor := j.begin(r.started)
	if cursor != "" {
		r.anchor = j.last
	}
	r.anchored.Store(cursor == "")
	c, err := start(ctx, arguments(j.Directory, cursor, j.filter.fields))
	if err != nil {
		return false, err
	}
	if j.runs++; j.runs > 1 {
		j.counts.restarts.Add(1)
	}
	var reading sync.WaitGroup
	reading.Go(func() { r.out.end(r.read(ctx, newParser(c.out, j.filter.fields))) }) // ends with c.out
	progressed, err = j.sendAll(ctx, r)
	cancel()
	c.out.Close()
	reading.Wait()
	ended := c.stop()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ended
	}
	return progressed, err
}
