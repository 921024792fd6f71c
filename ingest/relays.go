package ingest

import (
	"cmp"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/lines"
	"fanin/internal/retry"
	"fanin/internal/wire"
)

// Relays says which peers may forward the log of another collector, and what their lines may
// name. NewRelays makes it; its nil allows none.
type Relays struct {
	names, hosts []string // patterns, see NewRelays
	own          string
	replaced     map[string]prometheus.Counter // lines, by label
	limited      *retry.Log
}

// MaxAhead is how far the time of a relayed line may be ahead of the collector's clock: a wrong
// clock of one host must not make its lines the newest of all logs for years.
const MaxAhead = 24 * time.Hour

// NewRelays returns which peers may relay: those with a name in their certificate, or with an id
// where no certificate is required, that matches one of names. Their lines may name the hosts
// that match one of hosts; all, if there are none. Patterns are path.Match's. own is the host of
// this log's own notices, which no other log may name in its, and no relay may have.
func NewRelays(names, hosts []string, own string, m *Metrics, log *slog.Logger) *Relays {
	return &Relays{names: names, hosts: hosts, own: own, limited: retry.NewLog(log),
		replaced: m.Counters("fanin_relayed_replaced_lines_total",
			"Relayed lines with a label that was replaced: a host that their relay may not name, or a time more than "+
				"a day ahead.", "label", "host", "time")}
}

// Check returns why a relay may not forward its log here; nil: it may, or is none. names are
// those of its certificate, or its id.
func (r *Relays) Check(h *wire.Hello, names []string) *Fault {
	switch {
	case !h.IsRelay():
	case r == nil || !slices.ContainsFunc(names, func(n string) bool { return matches(r.names, n) }):
		return &Fault{"relay", fmt.Sprintf("%q may not relay the log of another collector here: none of its names %q "+
			"is in relay_names of this listener", h.Agent, names)}
	case wire.CleanHost(cmp.Or(h.Host, h.Agent)) == r.own:
		return &Fault{"host", fmt.Sprintf("host %q of the relay is that of this collector, whose notices it "+
			"would seem to write: set host in [collector.relay] of the other collector", r.own)}
	case h.Host != "" && !slices.Contains(names, h.Host) && len(r.hosts) > 0 && !matches(r.hosts, h.Host):
		return &Fault{"host", fmt.Sprintf("host %q is neither a name of the relay, which has %q, nor in relay_hosts "+
			"of this listener", h.Host, names)}
	}
	return nil
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return ok && err == nil
	})
}

// SetSession sets what the hello of an agent or a relay determines of its batches: the owner of
// the streams, and the host of all lines, unless the peer may name others. When the clock of an
// agent is wrong, the batch was read at now.
func (r *Relays) SetSession(b *wire.Batch, h *wire.Hello, trustHost bool, now time.Time) {
	SetSession(b, h, trustHost || h.IsRelay(), now)
	if h.IsRelay() && r != nil {
		b.Relayed = true
		r.replaceHosts(b)
		r.replaceTimes(b, now)
	}
}

// replaceHosts gives lines whose host the relay may not name the relay's own.
func (r *Relays) replaceHosts(b *wire.Batch) {
	last, may := "", true
	r.replace(b, "host", func(l *wire.Labels) bool {
		if l.Host != last {
			last = l.Host
			may = len(r.hosts) == 0 || last == b.Host || last == "" || matches(r.hosts, last)
		}
		if may && (l.Source != wire.SourceNotice || l.Host != r.own) {
			return false
		}
		l.Host = ""
		return true
	})
}

// replaceTimes gives lines that show a time far ahead the time when the relay sent them.
func (r *Relays) replaceTimes(b *wire.Batch, now time.Time) {
	latest := now.Add(MaxAhead)
	r.replace(b, "time", func(l *wire.Labels) bool {
		if !l.Time.After(latest) {
			return false
		}
		l.Time = time.Time{}
		return true
	})
}

// replace has each mark of b examined, and counts the lines of those that were changed.
func (r *Relays) replace(b *wire.Batch, label string, change func(*wire.Labels) bool) {
	changed := 0
	for i := range b.Marks {
		if !change(&b.Marks[i].Labels) {
			continue
		}
		end := len(b.Text)
		if i+1 < len(b.Marks) {
			end = b.Marks[i+1].Text
		}
		if from := b.Marks[i].Text; 0 <= from && from < end && end <= len(b.Text) { // else the batch is refused
			changed += lines.Count(b.Text[from:end])
		}
	}
	if changed > 0 {
		r.replaced[label].Add(float64(changed))
		r.limited.Warn(label, "labels of relayed lines were replaced: a host that the relay may not name, or a time "+
			"more than a day ahead", "relay", b.Agent, "label", label, "lines", changed)
	}
}
