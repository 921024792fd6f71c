package collector

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"fanin/internal/top"
	"fanin/sink"
	"fanin/sink/distribute"
)

// show lays out what was asked.
func (w *topWatch) show(order top.Order) (head []string, tables []top.Table) {
	st := &w.status
	health := "taking lines"
	switch {
	case w.err != nil:
		health = "NO ANSWER: " + w.err.Error()
	case !st.Sink.Healthy:
		health = "NOT TAKING LINES: " + st.Sink.Trouble
	case st.Stalled != "":
		health = "INTAKE IS STALLED: " + st.Stalled
	case w.listErr != nil:
		health = "AGENTS AND STREAMS ARE NOT LISTED: " + w.listErr.Error()
	}
	head = []string{
		fmt.Sprintf("%s  %d agents, %d streams, %d lines  %s  [q] end [l] lag [n] name", filepath.Base(st.Sink.Path),
			len(w.agents), w.known, st.Sink.Lines, w.asked.Format(time.TimeOnly)),
		health,
	}
	return head, []top.Table{w.agentTable(order), w.streamTable(order), w.groupTable(order), w.workerTable(),
		w.inputTable(order), w.diskTable()}
}

func (w *topWatch) agentTable(order top.Order) top.Table {
	list := slices.Clone(w.agents)
	slices.SortFunc(list, func(a, b topAgent) int {
		name := cmp.Compare(a.name, b.name)
		if order == top.ByName {
			return name
		}
		return cmp.Or(btoi(a.connected)-btoi(b.connected), a.seen.Compare(b.seen), name)
	})
	t := top.Table{Heads: []string{"AGENT", "HOST", "STATE", "#LAST LINE", "#STREAMS"}}
	for _, a := range list {
		state := "not connected"
		if a.connected {
			state = "connected"
		}
		t.Rows = append(t.Rows, []string{a.name, a.host, state, w.ago(a.seen), strconv.Itoa(a.streams)})
	}
	return t
}

func (w *topWatch) streamTable(order top.Order) top.Table {
	list := slices.Clone(w.streams)
	if order == top.ByName {
		slices.SortFunc(list, func(a, b sink.StreamStatus) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Host, b.Host), silentFirst(a, b))
		})
	}
	t := top.Table{Heads: []string{"STREAM", "HOST", "AGENT", "KIND", "#LAST LINE", "#OFFSET"}}
	for _, s := range list {
		t.Rows = append(t.Rows, []string{s.Source, s.Host, s.Agent, s.Kind, w.ago(s.Seen),
			strconv.FormatInt(s.Offset, 10)})
	}
	return t
}

func (w *topWatch) groupTable(order top.Order) top.Table {
	list := slices.Clone(w.status.Groups)
	slices.SortFunc(list, func(a, b distribute.GroupStatus) int {
		name := cmp.Compare(a.Group, b.Group)
		if order == top.ByName {
			return name
		}
		return cmp.Or(cmp.Compare(b.LagSeconds, a.LagSeconds), cmp.Compare(b.LagBytes, a.LagBytes), name)
	})
	t := top.Table{Heads: []string{"GROUP", "#WORKERS", "#BEHIND", "#BYTES", "#OLDEST", "#IN FLIGHT", "#DEAD",
		"#EXPIRED"}}
	for _, g := range list {
		oldest := time.Duration(g.LagSeconds * float64(time.Second))
		t.Rows = append(t.Rows, []string{g.Group, strconv.Itoa(g.Workers), strconv.FormatUint(g.LagLines, 10),
			size(g.LagBytes), span(oldest), strconv.Itoa(g.InFlight), strconv.FormatUint(g.Dead, 10),
			strconv.FormatUint(g.Expired, 10)})
	}
	return t
}

func (w *topWatch) workerTable() top.Table {
	t := top.Table{Heads: []string{"WORKER", "GROUP", "ADDRESS", "STATE", "#IN FLIGHT", "#ACCEPTED"}}
	for _, x := range w.workers {
		state := "connected"
		if x.Suspended {
			state = "suspended"
		}
		t.Rows = append(t.Rows, []string{x.Name, x.Group, x.Address, state, strconv.Itoa(x.InFlight),
			strconv.FormatUint(x.Acked, 10)})
	}
	return t
}

func (w *topWatch) inputTable(order top.Order) top.Table {
	list := slices.Clone(w.status.Inputs)
	slices.SortFunc(list, func(a, b inputStatus) int {
		name := cmp.Compare(a.Input, b.Input)
		if order == top.ByName {
			return name
		}
		return cmp.Or(cmp.Compare(b.Received, a.Received), name)
	})
	t := top.Table{Heads: []string{"INPUT", "CLASS", "#LINES/S", "#RECEIVED", "#WRITTEN", "#REPEATED", "#REJECTED",
		"#DROPPED"}}
	for _, x := range list {
		var rejected uint64
		for _, n := range x.Rejected {
			rejected += n
		}
		rate := "-"
		if w.lineRates != nil {
			rate = fmt.Sprintf("%.0f", max(w.lineRates[x.Input], 0))
		}
		t.Rows = append(t.Rows, []string{x.Input, x.Class, rate, strconv.FormatUint(x.Received, 10),
			strconv.FormatUint(x.Written, 10), strconv.FormatUint(x.Duplicate, 10), strconv.FormatUint(rejected, 10),
			strconv.FormatUint(x.Dropped, 10)})
	}
	return t
}

// diskTable is what the log keeps.
func (w *topWatch) diskTable() top.Table {
	l := &w.status.Sink
	t := top.Table{Heads: []string{"LOG", "#FILES", "#TEXT", "#LIVE FILE", "#SINCE", "SYNC", "#GENERATION"}}
	if l.Path == "" {
		return t
	}
	files, text, oldest := 0, int64(0), time.Time{}
	for _, g := range l.Generations {
		if g.State == "removed" || g.State == "lost" {
			continue
		}
		files++
		if g.Number != l.Generation { // the size of the live file is that of Size
			text += g.Size
		}
		if oldest.IsZero() || g.Opened.Before(oldest) {
			oldest = g.Opened
		}
	}
	t.Rows = [][]string{{l.Path, strconv.Itoa(files), size(text + l.Size), size(l.Size), w.ago(oldest), l.Sync,
		strconv.FormatUint(l.Generation, 10)}}
	return t
}

// ago is how long before the last answer something was.
func (w *topWatch) ago(at time.Time) string {
	if at.IsZero() || at.Unix() <= 0 {
		return "never"
	}
	return span(w.asked.Sub(at))
}

// span is a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// size is a number of bytes in a unit that leaves a few digits.
func size(n int64) string {
	const units = "BKMGTP"
	i := 0
	for ; n >= 10_000 && i < len(units)-1; i++ {
		n >>= 10
	}
	return fmt.Sprintf("%d%c", n, units[i])
}
