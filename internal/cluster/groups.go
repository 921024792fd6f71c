package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/sink"
)

// Group is where a group of workers is in one partition: in which tenure. Where it is in that
// tenure, the log of the tenure knows.
type Group struct {
	// ID changes when the group is made anew, or moved: what a log knows of another id counts no more.
	ID    string `json:"id"`
	Epoch uint64 `json:"epoch"` // it has finished all tenures before this one; 0: it begins with the first
	// From is "end", if it gets nothing of this tenure that is there already; or a time: it gets no older
	// lines of any tenure.
	From string `json:"from,omitempty"`
	// It has finished all lines before the position Done of the log Log, as it was in the tenure DoneIn; "": that is
	// not known. A log that lost its end in a power cut has the same positions again, in a later tenure.
	Log    string `json:"log,omitempty"`
	Done   string `json:"done,omitempty"`
	DoneIn uint64 `json:"done_in,omitempty"`

	revision uint64
}

// Finished reports whether it is known, also without its log, that the group has finished a tenure that has ended.
func (g *Group) Finished(t *Tenure) bool {
	done, err := sink.ParsePosition(g.Done)
	end, terr := sink.ParsePosition(t.To)
	return g.Log == t.Log && g.DoneIn == t.Epoch && t.End != "" && err == nil && terr == nil && done.Compare(end) >= 0
}

// EndOfTenure is a Group.From.
const EndOfTenure = "end"

// ErrGroupChanged is of a group's record that another member has changed meanwhile.
var ErrGroupChanged = errors.New("another collector has changed the group")

var errOutOfTouch = errors.New("this collector is not in touch with its cluster")

// groupKey is the key of a group's record: a name may have dots where a key may not.
func groupKey(p int, name string) string {
	return keyGroup + strconv.Itoa(p) + "." + strings.ReplaceAll(name, ".", "/")
}

// seeGroup takes the record of a group in.
func (d *directory) seeGroup(key string, e jetstream.KeyValueEntry, gone bool) {
	digits, name, _ := strings.Cut(key, ".")
	p, err := strconv.Atoi(digits)
	if err != nil {
		return
	}
	name = strings.ReplaceAll(name, "/", ".")
	if d.groups[p] == nil {
		d.groups[p], d.forgotten[p] = make(map[string]Group), make(map[string]bool)
	}
	if e.Revision() < d.groups[p][name].revision {
		return // PutGroup has written since
	}
	var g Group
	delete(d.groups[p], name)
	delete(d.forgotten[p], name)
	if gone {
		d.forgotten[p][name] = true
	} else if json.Unmarshal(e.Value(), &g) == nil {
		g.revision = e.Revision()
		d.groups[p][name] = g
	}
}

// Groups returns the groups of a partition, and those that were forgotten; false: not all records were
// seen yet.
func (m *Member) Groups(p int) (groups map[string]Group, forgotten map[string]bool, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.dir.groups[p]), maps.Clone(m.dir.forgotten[p]), m.dir.complete && m.bucket != nil
}

// ReadGroup reads the record of a group from the bucket, also when the member has ended, and with it the
// watch that Groups knows the records by; false: there is none.
func (m *Member) ReadGroup(ctx context.Context, p int, name string) (g Group, ok bool, err error) {
	b := m.store()
	if b == nil {
		return g, false, errOutOfTouch
	}
	e, err := b.kv.Get(ctx, groupKey(p, name))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return g, false, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value(), &g)
	}
	if err != nil {
		return g, false, fmt.Errorf("read where group %s is in partition %d: %w", name, p, err)
	}
	g.revision = e.Revision()
	return g, true, nil
}

// lastGroups are the groups as they were seen last.
func (d *directory) lastGroups() map[int]map[string]Group {
	last := make(map[int]map[string]Group)
	for _, seen := range []map[int]map[string]Group{d.before, d.groups} {
		for p, groups := range seen {
			for name, g := range groups {
				if last[p] == nil {
					last[p] = make(map[string]Group)
				}
				if !d.forgotten[p][name] {
					last[p][name] = g
				}
			}
		}
	}
	return last
}

// LostGroups returns the groups of a partition that a bucket before this one had: it was deleted.
func (m *Member) LostGroups(p int) map[string]Group {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := make(map[string]Group)
	if !m.dir.complete || m.bucket == nil {
		return lost
	}
	for name, g := range m.dir.before[p] {
		if _, ok := m.dir.groups[p][name]; !ok && !m.dir.forgotten[p][name] {
			lost[name] = g
		}
	}
	return lost
}

// Settled reports whether it is known which groups there are. A bucket that was made anew has none: the
// owners write the tenures again, and then the members with the logs of these write the groups.
func (m *Member) Settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dir.complete && len(m.dir.tenures) == m.Partitions && time.Since(m.dir.grown) > settleGroups
}

// settleGroups is for how long tenures are known before the groups are, too.
const settleGroups = 2 * time.Second

// PutGroup writes the record of a group, if it is as it was seen; the zero Group: if there is none.
func (m *Member) PutGroup(ctx context.Context, p int, name string, before, after Group) error {
	b := m.store()
	if b == nil {
		return errOutOfTouch
	}
	revision, err := b.put(ctx, groupKey(p, name), after, before.revision)
	if isTaken(err) {
		return ErrGroupChanged
	}
	if err != nil {
		return fmt.Errorf("write where group %s is in partition %d: %w", name, p, err)
	}
	after.revision = revision
	m.mu.Lock() // the watch shows it, too, but later
	defer m.mu.Unlock()
	forgotten := before.revision > 0 && m.dir.forgotten[p][name]
	if of := m.dir.groups[p]; of != nil && of[name].revision < revision && m.bucket == b && !forgotten {
		of[name] = after
	}
	return nil
}

// ForgetGroup removes the record of a group.
func (m *Member) ForgetGroup(ctx context.Context, p int, name string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := m.store().kv.Delete(ctx, groupKey(p, name)); err != nil {
		return fmt.Errorf("remove group %s in partition %d: %w", name, p, err)
	}
	return nil
}

// At is up to where the journal has the log, in a tenure that has begun: other members know that
// the lines before it are the partition's.
func (o *Ownership) At() (at sink.Position, ok bool) {
	known := o.known.Load()
	if known == nil || o.Lost() {
		return at, false
	}
	at, err := sink.ParsePosition(*known)
	return at, err == nil
}
