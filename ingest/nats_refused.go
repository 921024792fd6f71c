package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"fanin/internal/disk"
	"fanin/internal/wire"
)

// Refused is a batch that came through a JetStream stream, and that the log has not: it
// could not be decoded, or the log refused it, and its agent believed the stream and waits
// for no answer. It is kept as a file of its own, a line of JSON with these fields and
// then the message, before it is acknowledged: the stream may forget it then.
type Refused struct {
	File    string    `json:"-"`
	From    string    `json:"stream"`  // the JetStream stream
	Seq     uint64    `json:"seq"`     // its number there
	Time    time.Time `json:"time"`    // when the stream took it
	Subject string    `json:"subject"` // where to publish it again
	Agent   string    `json:"agent"`
	Stream  string    `json:"agent_stream,omitempty"` // the agent's, as fanin-collector streams names it
	Offsets string    `json:"offsets,omitempty"`      // of its source, first to last
	Reason  string    `json:"reason"`
}

// refusals is the directory of refused messages.
type refusals struct {
	disk   *disk.Disk
	dir    string // "": there is none
	stream string // the JetStream stream
	most   int64

	mu   sync.Mutex
	used int64
	told map[string]bool // by file: what this process has kept and said
}

// mostRefused bounds how many there are, whatever their size.
const mostRefused = 10_000

const refusedName = ".message"

// errFull says that no more refused messages can be kept.
var errFull = errors.New("no more refused messages are kept")

// measure finds out what is there: from before, or after some were moved away.
func (r *refusals) measure() (files int) {
	r.used = 0
	for _, e := range r.files() {
		if fi, err := e.Info(); err == nil {
			r.used += r.cost(fi.Size())
			files++
		}
	}
	return files
}

// files are those of this stream, by number: the directory is also that of others.
func (r *refusals) files() []fs.DirEntry {
	list, _ := os.ReadDir(r.dir) // it is made with the first one
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool {
		name, ours := strings.CutSuffix(e.Name(), refusedName)
		for range 2 { // the number, and the time
			name = name[:max(strings.LastIndexByte(name, '-'), 0)]
		}
		return !ours || name != r.stream
	})
}

// cost is what a file takes of the bound.
func (r *refusals) cost(size int64) int64 { return max(size, r.most/mostRefused) }

// keep makes a message durable; told says that it did so before, and all was said about
// it. After a crash it is said again: twice is better than never.
func (r *refusals) keep(x *Refused, data []byte) (file string, told bool, err error) {
	if r.dir == "" {
		return "", false, errFull
	}
	head, err := json.Marshal(x)
	if err != nil {
		return "", false, fmt.Errorf("describe a refused message: %w", err)
	}
	content := append(append(head, '\n'), data...)
	cost := r.cost(int64(len(content)))
	file = filepath.Join(r.dir, fmt.Sprintf("%s-%020d-%d%s", x.From, x.Seq, x.Time.UnixNano(), refusedName))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[file] {
		return file, true, nil
	}
	if _, err := os.Stat(file); err == nil {
		cost = 0 // it is counted
	} else if r.used+cost > r.most {
		if r.measure(); r.used+cost > r.most {
			return "", false, errFull
		}
	}
	if err = os.Mkdir(r.dir, 0o750); err == nil || errors.Is(err, fs.ErrExist) {
		err = r.disk.SyncDir(filepath.Dir(r.dir))
	}
	if err == nil {
		err = r.disk.WriteFile(file, content, 0o640)
	}
	if err != nil {
		return "", false, fmt.Errorf("keep a refused message: %w", err)
	}
	r.used += cost
	r.told[file] = true
	return file, false, nil
}

// list is what is kept, oldest first.
func (r *refusals) list() (all []Refused, err error) {
	for _, e := range r.files() {
		x, _, err := readRefused(filepath.Join(r.dir, e.Name()))
		if err != nil {
			return all, err
		}
		all = append(all, x)
	}
	return all, nil
}

func readRefused(file string) (x Refused, data []byte, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return x, nil, fmt.Errorf("read a refused message: %w", err)
	}
	head, data, _ := bytes.Cut(b, newline)
	if err := json.Unmarshal(head, &x); err != nil {
		return x, nil, fmt.Errorf("%s is no refused message: %w", file, err)
	}
	x.File = file
	return x, data, nil
}

// drop removes a message that was published again.
func (r *refusals) drop(file string, size int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.disk.Remove(file); err != nil {
		return fmt.Errorf("remove a refused message: %w", err)
	}
	r.used -= r.cost(size)
	delete(r.told, file)
	return nil
}

// Refused lists the messages that are kept.
func (n *NATS) Refused() ([]Refused, error) {
	n.setUp()
	return n.refusals.list()
}

// Replay publishes the refused messages again, in the order they came, and removes each
// when the stream has it. What is refused again is kept again.
func (n *NATS) Replay(ctx context.Context) (replayed int, err error) {
	all, err := n.Refused()
	if err != nil || len(all) == 0 {
		return 0, err
	}
	js, err := jetstream.New(n.Conn)
	if err != nil {
		return 0, fmt.Errorf("use JetStream: %w", err)
	}
	for _, x := range all {
		_, data, err := readRefused(x.File)
		if err != nil {
			return replayed, err
		}
		fi, err := os.Stat(x.File)
		if err != nil {
			return replayed, fmt.Errorf("read a refused message: %w", err)
		}
		msg := nats.NewMsg(x.Subject)
		msg.Data = data
		if _, err := js.PublishMsg(ctx, msg, jetstream.WithExpectStream(n.Stream)); err != nil {
			return replayed, fmt.Errorf("publish %s to the stream %s again: %w", x.File, n.Stream, err)
		}
		if err := n.refusals.drop(x.File, fi.Size()); err != nil {
			return replayed, err
		}
		n.Metrics.natsKept.Dec()
		replayed++
	}
	n.Log.Info("refused messages were published again", "stream", n.Stream, "messages", replayed)
	return replayed, nil
}

// lost keeps a message that the log has not and that no agent sends again, counts it, and
// says so in the log. An error leaves it in the stream, unacknowledged: then nothing
// behind it is taken either, which is better than to forget it. A message that only does
// not fit is not worth that: it waits for one before it, which its agent may yet send.
func (s *natsStream) lost(m *message, x *Refused, nacked bool) error {
	x.From, x.Seq, x.Time, x.Subject = s.n.Stream, m.seq, m.time, m.subject
	file, told, err := s.n.refusals.keep(x, m.data)
	where := "it is kept in " + file + "; publish it again with: fanin-collector refused --replay"
	switch {
	case errors.Is(err, errFull) && nacked:
		where = "it is not kept, for as many refused messages are kept as may be"
		s.n.Metrics.natsRefused["no"].Inc()
	case errors.Is(err, errFull):
		return fmt.Errorf("message %d of agent %s was refused (%s), and as many refused messages are kept in %s as may be: mend the reason and publish them again (fanin-collector refused --replay), or move them away, or raise keep_refused: %w",
			m.seq, x.Agent, x.Reason, s.n.RefusedDir, err)
	case err != nil:
		return err
	case told:
		return nil // its acknowledgement was lost
	default:
		s.n.Metrics.natsRefused["yes"].Inc()
		s.n.Metrics.natsKept.Inc()
	}
	stream, offsets := x.Stream, x.Offsets
	if stream == "" {
		stream, offsets = "?", "?"
	}
	s.n.Log.Error("a batch in a stream is not in the log", "agent", x.Agent, "stream", stream, "offsets", offsets, "seq", m.seq, "reason", x.Reason, "file", file)
	s.n.Notice("LOST agent=%s stream=%s offsets=%s reason=%q: %s", x.Agent, stream, offsets, x.Reason, where)
	return nil
}

// unheard reports whether no agent waits for the answer to a batch: its agent believed the
// stream, or what is to be answered cannot be known.
func unheard(answer string) bool {
	return answer == "" || strings.HasPrefix(answer[strings.LastIndexByte(answer, '.')+1:], wire.Pushed)
}
