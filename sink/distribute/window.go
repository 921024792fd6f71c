package distribute

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"fanin/sink"
	"fanin/sink/distribute/protocol"
)

// Window is the part of the log that a group may have at a time, where Settings.Windows is set: the
// log of a partition of a cluster has lines that are not the partition's, and others come only
// when those of another log are finished.
type Window struct {
	Epoch    uint64 // of the tenure whose lines these are
	From, To sink.Position
}

// Allow lets a group have the lines of a window, besides those that it had before. It hands out
// nothing before the beginning of the window. The end of a window may move on, and its lines must not
// change.
func (d *Distributor) Allow(name string, w Window) {
	g := d.groups.get(name)
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.window != nil && *g.window == w {
		return
	}
	g.window = &w
	if g.next.Compare(w.From) < 0 {
		g.next, g.ahead = w.From, lookahead{}
		g.version++
		g.changedLocked()
	}
	g.kick()
}

// Finished reports whether a group has finished all lines before a position, durably.
func (d *Distributor) Finished(ctx context.Context, name string, to sink.Position) (bool, error) {
	low, _, ok := d.Progress(name)
	if !ok || low.Compare(to) < 0 {
		return false, nil
	}
	if err := d.cursors.flush(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// Saved reports whether a distributor that was shut down has saved that a group has finished all lines before
// a position. An answer that came behind the last save does not count.
func (d *Distributor) Saved(name string, to sink.Position) bool {
	g := d.groups.get(name)
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.dirty && len(g.unsaved) == 0 && g.lowLocked().Compare(to) >= 0
}

// Dismiss ends the window of a group, and sends its workers away: they ask again where its lines are.
func (d *Distributor) Dismiss(name string) {
	g := d.groups.get(name)
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closeWindowLocked()
	for _, m := range g.members {
		m.sendLocked(&protocol.Frame{Kind: protocol.KindDrain})
		m.out.closing = true
		m.out.signal()
	}
}

// Move puts a group at a position that the log has or had, and makes it if it is missing. Its window
// ends.
func (d *Distributor) Move(ctx context.Context, name string, at sink.Position) error {
	g, err := d.makeAt(name, at, netip.Addr{})
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.closeWindowLocked() // before the move: nothing is handed out from the new position
	g.mu.Unlock()
	g.move(at)
	return d.cursors.flush(ctx)
}

func (g *group) closeWindowLocked() {
	g.window = nil
	g.version++ // what is being read now is not handed out
}

// withinLocked cuts what was read at the end of the group's window. Nothing is left if all of it is
// behind: then the group has handed out all lines of the window.
func (g *group) withinLocked(r reading) reading {
	w := g.window
	if w == nil || r.end.Compare(w.To) <= 0 {
		return r
	}
	if r.text == nil || r.at.Compare(w.To) >= 0 {
		return reading{at: r.at, end: maxPosition(g.next, w.To)}
	}
	if r.at.Generation == w.To.Generation {
		size := min(w.To.Offset-r.at.Offset, int64(len(r.text)))
		r.text = r.text[:size]
		r.end = sink.Position{Generation: r.at.Generation, Offset: r.at.Offset + size}
	}
	return r
}

func maxPosition(a, b sink.Position) sink.Position {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// closedLocked reports whether the group may have nothing of the log now.
func (g *group) closedLocked() bool {
	return g.d.now().Windows && (g.window == nil || g.next.Compare(g.window.To) >= 0)
}

// mayJoinLocked returns why a worker cannot have the lines that it came for.
func (g *group) mayJoinLocked(h *protocol.Hello) error {
	if g.d.now().Windows && (g.window == nil || !h.Cluster) {
		return fmt.Errorf("the lines of group %s: %w", g.name, errElsewhere)
	}
	return nil
}

// errElsewhere is of lines that a worker came for, and that are handed out elsewhere by now.
var errElsewhere = errors.New("they are handed out elsewhere; ask again")
