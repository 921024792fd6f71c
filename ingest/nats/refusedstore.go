package nats

import (
	"cmp"
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

	"fanin/internal/disk"
)

// RefusedStore is the directory of refused messages, which other inputs may use, too. Set the
// fields before the input is used.
type RefusedStore struct {
	Dir  string     // "": refused messages are not stored, but counted and reported
	Keep int64      // bytes; a sixteenth of it for one agent; default 256 MiB
	Disk *disk.Disk // nil: the real one

	stream string // the JetStream stream

	mu       sync.Mutex
	kept     map[string]refusedFile // by name
	used     int64
	byAgent  map[string]int64
	measured time.Time
	reported map[string]bool // by file: this process has stored and reported it
}

// refusedFile is what a file counts as.
type refusedFile struct {
	agent string
	cost  int64
}

const (
	maxRefused    = 10_000 // messages, whatever their size
	refusedShares = 16     // an agent's messages may use one of so many shares
	measureEvery  = time.Second

	refusedSuffix = ".message"
)

// errFull means that no more refused messages are stored, of this agent or in total.
var errFull = errors.New("no more refused messages are stored")

// open prepares the store for a JetStream stream and returns the number of stored messages.
func (r *RefusedStore) open(stream string) (files int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stream = stream
	r.Keep = cmp.Or(r.Keep, 256<<20)
	r.Disk = cmp.Or(r.Disk, new(disk.Disk))
	r.reported = make(map[string]bool)
	r.measureLocked()
	return len(r.kept)
}

// measureLocked finds out what is stored: by an earlier process, or after an operator moved files
// away.
func (r *RefusedStore) measureLocked() {
	known := r.kept
	r.kept, r.used, r.byAgent, r.measured = make(map[string]refusedFile), 0, make(map[string]int64), time.Now()
	for _, e := range r.files() {
		fi, err := e.Info()
		if err != nil {
			continue
		}
		x, ok := known[e.Name()]
		if !ok {
			x.agent = agentIn(filepath.Join(r.Dir, e.Name()))
		}
		r.countLocked(e.Name(), x.agent, r.cost(fi.Size()))
	}
}

func (r *RefusedStore) countLocked(name, agent string, cost int64) {
	r.kept[name] = refusedFile{agent, cost}
	r.used += cost
	r.byAgent[agent] += cost
}

// agentIn is the agent whose message a file has; "" if it cannot be read.
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

// files are those of this JetStream stream, by number. The directory has those of others, too.
func (r *RefusedStore) files() []fs.DirEntry {
	list, _ := os.ReadDir(r.Dir) // it is created with the first message
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool {
		name, ours := strings.CutSuffix(e.Name(), refusedSuffix)
		for range 2 { // the number, and the time
			name = name[:max(strings.LastIndexByte(name, '-'), 0)]
		}
		return !ours || name != r.stream
	})
}

// cost is what a file counts as. The smallest ones count so much that maxRefused fit.
func (r *RefusedStore) cost(size int64) int64 { return max(size, r.Keep/maxRefused) }

// fitsLocked reports whether one more file of an agent may be stored. One agent may not use all
// of the space, but its first message may be larger than its share.
func (r *RefusedStore) fitsLocked(agent string, cost int64) bool {
	has := r.byAgent[agent]
	return r.used+cost <= r.Keep && (has == 0 || has+cost <= r.Keep/refusedShares)
}

// add makes a message durable. again reports that this process stored and reported it before. After
// a crash it is reported again: twice is better than never.
func (r *RefusedStore) add(x *Refused, data []byte) (file string, again bool, err error) {
	if r.Dir == "" {
		return "", false, errFull
	}
	head, err := json.Marshal(x)
	if err != nil {
		return "", false, fmt.Errorf("describe a refused message: %w", err)
	}
	content := append(append(head, '\n'), data...)
	cost := r.cost(int64(len(content)))
	name := fmt.Sprintf("%s-%020d-%d%s", x.From, x.Seq, x.Time.UnixNano(), refusedSuffix)
	file = filepath.Join(r.Dir, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reported[file] {
		return file, true, nil
	}
	_, counted := r.kept[name]
	if !counted && !r.fitsLocked(x.Agent, cost) {
		if time.Since(r.measured) < measureEvery { // in a flood, not every message may cost a look at all files
			return "", false, errFull
		}
		if r.measureLocked(); !r.fitsLocked(x.Agent, cost) {
			return "", false, errFull
		}
	}
	if err := r.write(file, content); err != nil {
		return "", false, fmt.Errorf("store a refused message: %w", err)
	}
	if !counted {
		r.countLocked(name, x.Agent, cost)
	}
	r.reported[file] = true
	return file, false, nil
}

// write makes a file durable, and the directory with the first one.
func (r *RefusedStore) write(file string, content []byte) error {
	err := os.Mkdir(r.Dir, 0o750)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = r.Disk.SyncDir(filepath.Dir(r.Dir))
	}
	if err == nil {
		err = r.Disk.WriteFile(file, content, 0o640)
	}
	return err
}

// list returns what is stored, oldest first.
func (r *RefusedStore) list() (all []Refused, err error) {
	for _, e := range r.files() {
		x, _, err := readRefused(filepath.Join(r.Dir, e.Name()))
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
	if x, data, err = parseRefused(b); err != nil {
		return x, nil, fmt.Errorf("%s is not a refused message: %w", file, err)
	}
	x.File = file
	return x, data, nil
}

// remove removes a message that was published again.
func (r *RefusedStore) remove(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.Disk.Remove(file); err != nil {
		return fmt.Errorf("remove a refused message: %w", err)
	}
	name := filepath.Base(file)
	x := r.kept[name]
	r.used -= x.cost
	r.byAgent[x.agent] -= x.cost
	delete(r.kept, name)
	delete(r.reported, file)
	return nil
}
