package nats

import (
	"bytes"
	"cmp"
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
	"fanin/internal/natsconn"
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
	dir    string // "": there is none, and none are kept
	stream string // the JetStream stream
	most   int64

	mu       sync.Mutex
	kept     map[string]refusedFile // by name
	used     int64
	byAgent  map[string]int64
	measured time.Time
	told     map[string]bool // by file: what this process has kept and said
}

// refusedFile is what a file counts for.
type refusedFile struct {
	agent string
	cost  int64
}

const (
	mostRefused   = 10_000 // messages, whatever their size
	refusedShares = 16     // an agent's messages take no more than one of so many shares
	remeasure     = time.Second

	refusedName = ".message"
)

// errFull says that no more refused messages can be kept, of this agent or at all.
var errFull = errors.New("no more refused messages are kept")

// measure finds out what is there: from before, or after an operator moved files away.
// r.mu is held, or nothing else has r yet.
func (r *refusals) measure() (files int) {
	known := r.kept
	r.kept, r.used, r.byAgent, r.measured = make(map[string]refusedFile), 0, make(map[string]int64), time.Now()
	for _, e := range r.files() {
		fi, err := e.Info()
		if err != nil {
			continue
		}
		x, ok := known[e.Name()]
		if !ok {
			x.agent = agentIn(filepath.Join(r.dir, e.Name()))
		}
		r.add(e.Name(), x.agent, r.cost(fi.Size()))
	}
	return len(r.kept)
}

func (r *refusals) add(name, agent string, cost int64) {
	r.kept[name] = refusedFile{agent, cost}
	r.used += cost
	r.byAgent[agent] += cost
}

// agentIn is the agent whose message a file has; "" when that cannot be read.
func agentIn(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	var x Refused
	if json.NewDecoder(f).Decode(&x) != nil { // its first line
		return ""
	}
	return x.Agent
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

// fits reports whether one more file of an agent may be kept. One agent may not use up
// what all have; its first message may be larger than its share.
func (r *refusals) fits(agent string, cost int64) bool {
	has := r.byAgent[agent]
	return r.used+cost <= r.most && (has == 0 || has+cost <= r.most/refusedShares)
}

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
	name := fmt.Sprintf("%s-%020d-%d%s", x.From, x.Seq, x.Time.UnixNano(), refusedName)
	file = filepath.Join(r.dir, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[file] {
		return file, true, nil
	}
	_, counted := r.kept[name]
	if !counted && !r.fits(x.Agent, cost) {
		if time.Since(r.measured) < remeasure { // a flood of them shall not cost a look at all files each
			return "", false, errFull
		}
		if r.measure(); !r.fits(x.Agent, cost) {
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
	if !counted {
		r.add(name, x.Agent, cost)
	}
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
	head, data, _ := bytes.Cut(b, []byte{'\n'})
	if err := json.Unmarshal(head, &x); err != nil {
		return x, nil, fmt.Errorf("%s is no refused message: %w", file, err)
	}
	x.File = file
	return x, data, nil
}

// drop removes a message that was published again.
func (r *refusals) drop(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.disk.Remove(file); err != nil {
		return fmt.Errorf("remove a refused message: %w", err)
	}
	name := filepath.Base(file)
	x := r.kept[name]
	r.used -= x.cost
	r.byAgent[x.agent] -= x.cost
	delete(r.kept, name)
	delete(r.told, file)
	return nil
}

// Refused lists the messages that are kept.
func (n *Input) Refused() ([]Refused, error) {
	n.setUp()
	return n.refusals.list()
}

// Replay publishes the refused messages again, in the order they came, and removes each
// when the stream has it. What is refused again is kept again.
func (n *Input) Replay(ctx context.Context) (replayed int, err error) {
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
		msg := nats.NewMsg(x.Subject)
		msg.Data = data
		if _, err := js.PublishMsg(ctx, msg, jetstream.WithExpectStream(n.Stream)); err != nil {
			return replayed, fmt.Errorf("publish %s to the stream %s again: %w", x.File, n.Stream, err)
		}
		if err := n.refusals.drop(x.File); err != nil {
			return replayed, err
		}
		n.Metrics.kept.Dec()
		replayed++
	}
	n.Log.Info("refused messages were published again", "stream", n.Stream, "messages", replayed)
	return replayed, nil
}

// lost keeps a message that the log has not and that no agent sends again, counts it, and
// says so in the log. What cannot be kept because too much is kept already is let go: it
// is noted for sayLetGo, since an agent whose messages are refused must not stop all
// others. An error leaves the message in the stream, unacknowledged, and nothing behind it
// is taken: the collector's own disk fails then, and would fail for all of them.
func (s *streamReader) lost(m *message, x *Refused) error {
	x.From, x.Seq, x.Time, x.Subject = s.n.Stream, m.seq, m.time, m.subject
	file, told, err := s.n.refusals.keep(x, m.data)
	switch {
	case errors.Is(err, errFull):
		s.letGo.add(x)
		return nil
	case err != nil:
		return err
	case told:
		return nil // its acknowledgement was lost
	}
	s.n.Metrics.refused["yes"].Inc()
	s.n.Metrics.kept.Inc()
	stream, offsets := cmp.Or(x.Stream, "?"), cmp.Or(x.Offsets, "?")
	s.n.Log.Error("a batch in a stream is not in the log", "agent", x.Agent, "stream", stream, "offsets", offsets, "seq", m.seq, "reason", x.Reason, "file", file)
	s.n.Notice("LOST agent=%s stream=%s offsets=%s reason=%q: it is kept in %s; publish it again with: fanin-collector refused --replay", x.Agent, stream, offsets, x.Reason, file)
	return nil
}

// letGo is what a group of messages has of those that are neither in the log nor kept,
// by agent and stream.
type letGo struct {
	mu   sync.Mutex
	list []*letGoOf
}

type letGoOf struct {
	first, last Refused
	messages    int
}

func (l *letGo) add(x *Refused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.list, func(o *letGoOf) bool { return o.first.Agent == x.Agent && o.first.Stream == x.Stream })
	if i < 0 {
		i = len(l.list)
		l.list = append(l.list, &letGoOf{first: *x})
	}
	o := l.list[i]
	o.last = *x
	o.messages++
}

// sayLetGo counts the messages of a group that are let go and says so, before they are
// acknowledged: in one line for each agent's stream, or the log would grow by more than
// a sender brings.
func (s *streamReader) sayLetGo() {
	for _, o := range s.letGo.list {
		x := &o.first
		stream, offsets := cmp.Or(x.Stream, "?"), o.offsets()
		s.n.Metrics.refused["no"].Add(float64(o.messages))
		s.n.Log.Error("batches in a stream are not in the log, and not kept: as many refused messages are kept as may be, of this agent or in all",
			"agent", x.Agent, "stream", stream, "offsets", offsets, "messages", o.messages, "from", x.Seq, "to", o.last.Seq, "reason", x.Reason, "dir", s.n.RefusedDir,
			"remedy", "mend the reason and publish what is kept again (fanin-collector refused --replay), or move it away, or raise keep_refused")
		s.n.Notice("LOST n=%d unit=messages agent=%s stream=%s offsets=%s reason=%q from=%d to=%d: not kept, for as many refused messages are kept as keep_refused allows, of this agent or in all",
			o.messages, x.Agent, stream, offsets, x.Reason, x.Seq, o.last.Seq)
	}
	s.letGo.list = nil
}

// offsets is where in their source the messages are, from the first one to the last.
func (o *letGoOf) offsets() string {
	from, _, known := strings.Cut(o.first.Offsets, "-")
	_, to, alsoKnown := strings.Cut(o.last.Offsets, "-")
	if !known || !alsoKnown {
		return "?"
	}
	return from + "-" + to
}

// unheard reports whether no agent waits for the answer to a batch: its agent believed the
// stream, or what is to be answered cannot be known.
func unheard(answer string) bool {
	return answer == "" || strings.HasPrefix(answer[strings.LastIndexByte(answer, '.')+1:], natsconn.Pushed)
}
