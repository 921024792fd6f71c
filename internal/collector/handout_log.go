package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fanin/internal/cluster"
	"fanin/sink"
	"fanin/sink/distribute"
)

// groupLog is the groups of workers of one log of a partition, while it is open.
type groupLog struct {
	p   int
	x   *server
	d   *distribute.Distributor
	log string // its id

	noted map[string]time.Time // when the records of groups were told how far these are; of handout.look

	mu      sync.Mutex
	ids     map[string]string            // of the groups that the log knows, in the file groups.json
	windows map[string]distribute.Window // that groups have of it now
}

// groupsName is the file with the ids of the groups, beside their cursors.
const groupsName = "groups.json"

func newGroupLog(p int, x *server) (*groupLog, error) {
	l := &groupLog{p: p, x: x, d: x.work.Load(), log: x.sink.LogID().String(), noted: make(map[string]time.Time),
		ids: make(map[string]string), windows: make(map[string]distribute.Window)}
	b, err := os.ReadFile(l.path())
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &l.ids)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.path(), err)
	}
	return l, nil
}

func (l *groupLog) path() string { return filepath.Join(l.x.settings.state(), groupsName) }

// known are the ids of the groups that the log knows, by name.
func (l *groupLog) known() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ids)
}

// end is up to where the lines of a tenure are known to be the partition's.
func (l *groupLog) end(t *cluster.Tenure) (at sink.Position, known bool) {
	if t.End != "" {
		at, err := sink.ParsePosition(t.To)
		return at, err == nil
	}
	if o := l.x.partition.own; o != nil && o.Epoch == t.Epoch {
		return o.At()
	}
	return at, false // its owner was killed, and nothing is known yet
}

// adopt makes the log know a group that it does not know, or knew under another id: at the beginning
// of the first tenure in this log whose lines it gets. False: it gets none of this log yet.
func (l *groupLog) adopt(ctx context.Context, name string, g cluster.Group, now *cluster.Tenure,
	following []cluster.Tenure) (bool, error) {
	_, _, exists := l.d.Progress(name)
	if exists && l.known()[name] == g.ID {
		return true, nil
	}
	first := now
	if now.Log != l.log {
		i := slices.IndexFunc(following, func(t cluster.Tenure) bool { return t.Log == l.log })
		if i < 0 {
			return false, nil
		}
		first = &following[i]
	}
	at, err := sink.ParsePosition(first.From)
	if err != nil {
		return false, err
	}
	if g.From == cluster.EndOfTenure && first.Epoch == g.Epoch {
		var known bool
		if at, known = l.end(first); !known {
			return false, nil
		}
	}
	if err := l.d.Move(ctx, name, at); err != nil {
		return false, err
	}
	return true, l.note(name, g.ID)
}

// note notes the id of a group, durably, before it gets a line; "": it is forgotten.
func (l *groupLog) note(name, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.windows, name)
	if l.ids[name] = id; id == "" {
		delete(l.ids, name)
	}
	return writeJSON(l.path(), l.ids)
}

// forget forgets a group.
func (l *groupLog) forget(ctx context.Context, name string) error {
	if _, _, ok := l.d.Progress(name); !ok {
		return nil
	}
	if err := l.d.Forget(ctx, name); err != nil && !errors.Is(err, distribute.ErrNoGroup) {
		return err
	}
	return l.note(name, "")
}

// allow lets a group have the lines of a tenure up to a position.
func (l *groupLog) allow(ctx context.Context, name string, g cluster.Group, t *cluster.Tenure,
	end sink.Position) error {
	l.mu.Lock()
	w, ok := l.windows[name]
	l.mu.Unlock()
	if !ok || w.Epoch != t.Epoch {
		var err error
		if w.From, err = l.begin(ctx, g, t, end); err != nil {
			return err
		}
		w.Epoch = t.Epoch
	}
	w.To = end
	l.mu.Lock()
	defer l.mu.Unlock()
	if now, ok := l.windows[name]; ok && now.Epoch == w.Epoch && t.End == "" && now.To.Compare(w.To) > 0 {
		w.To = now.To // it went on meanwhile
	}
	l.windows[name] = w
	l.d.Allow(name, w)
	return nil
}

// begin is where a group begins in a tenure: behind the lines that are older than it wants.
func (l *groupLog) begin(ctx context.Context, g cluster.Group, t *cluster.Tenure, end sink.Position) (sink.Position,
	error) {
	from, err := sink.ParsePosition(t.From)
	if _, terr := time.Parse(time.RFC3339, g.From); err != nil || terr != nil {
		return from, err
	}
	since, err := l.x.sink.Resolve(ctx, g.From)
	if err != nil {
		return from, err
	}
	if t.End != "" && since.Compare(end) > 0 {
		since = end
	}
	if since.Compare(from) > 0 {
		from = since
	}
	return from, nil
}

// extend lets the groups that are in the tenure that goes on have what the journal has by now.
func (l *groupLog) extend() {
	o := l.x.partition.own
	if o == nil {
		return
	}
	at, known := o.At()
	if !known {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, w := range l.windows {
		if w.Epoch == o.Epoch && w.To.Compare(at) < 0 {
			w.To = at
			l.windows[name] = w
			l.d.Allow(name, w)
		}
	}
}

// dismiss ends the window of a group.
func (l *groupLog) dismiss(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.windows, name)
	l.d.Dismiss(name)
}

// awaits reports whether a group has a window of a tenure that the bucket does not have: it was deleted, and
// its owners are writing the tenures again. Before that, nothing says that the group is elsewhere.
func (l *groupLog) awaits(name string, g cluster.Group, tenures []cluster.Tenure) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.windows[name]
	last := len(tenures) - 1
	return ok && l.ids[name] == g.ID && g.Epoch <= w.Epoch && (last < 0 || tenures[last].Epoch < w.Epoch)
}

// retract ends the window of a group if the group is elsewhere by its record: in another tenure, or it was
// made anew. Another member may hand out already what follows, or what comes before.
func (l *groupLog) retract(name string, g cluster.Group, now *cluster.Tenure) {
	l.mu.Lock()
	w, ok := l.windows[name]
	stays := ok && now != nil && now.Log == l.log && now.Epoch == w.Epoch && l.ids[name] == g.ID
	l.mu.Unlock()
	if ok && !stays {
		l.dismiss(name)
	}
}

// epoch is that of the tenure whose lines a group gets now; 0: it gets none of this log.
func (l *groupLog) epoch(name string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.windows[name].Epoch
}

// serves reports whether a group has a window now.
func (l *groupLog) serves(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.windows[name]
	return ok
}

// unfinished is the first tenure in this log that a group has not finished; nil: there is none.
func (l *groupLog) unfinished(name string, tenures []cluster.Tenure) *cluster.Tenure {
	low, _, ok := l.d.Progress(name)
	if !ok {
		return nil
	}
	for i := range tenures {
		t := &tenures[i]
		if t.Log != l.log || t.From == t.To {
			continue
		}
		if to, err := sink.ParsePosition(t.To); t.End == "" || err == nil && low.Compare(to) < 0 {
			return t
		}
	}
	return nil
}
