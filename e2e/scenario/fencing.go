package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fanin/e2e/check"
	"fanin/e2e/rig"
	"fanin/internal/cluster"
	"fanin/sink"
)

// Fencing is what owners wrote that were replaced, and must not make known: it is behind the ends of their
// tenures.
type Fencing struct {
	Taken  int // tenures that ended because another collector owned the partition
	Groups int // that are behind them
	Most   int // behind one of them
	Acked  int // tenures, also others, of which acknowledgements were heard
}

// String returns the figures.
func (f *Fencing) String() string {
	return fmt.Sprintf("taken=%d behind=%d most=%d acked=%d", f.Taken, f.Groups, f.Most, f.Acked)
}

// count counts the groups behind a tenure: there may be one.
func (f *Fencing) count(p int, epoch uint64, groups int) error {
	f.Taken, f.Groups, f.Most = f.Taken+1, f.Groups+groups, max(f.Most, groups)
	if groups > 1 {
		return fmt.Errorf("partition %d: %d groups are behind the tenure of epoch %d", p, groups, epoch)
	}
	return nil
}

// fencedMessage is logged by an owner that continues and finds that it was replaced.
const fencedMessage = "another collector owns the partition now"

// fenced checks that no owner that was replaced wrote more than the group that it was about to commit,
// and that none acknowledged what is not in its tenure.
func (d *clusterDay) fenced(r *Result) error {
	said := d.auditor.said
	said.mu.Lock()
	defer said.mu.Unlock()
	f := &Fencing{Acked: len(said.acked)}
	r.Fencing = f
	var errs []error
	for p, tenures := range d.tenures {
		logs := d.logs(p)
		for i, t := range tenures {
			key := tenureKey{p, t.Epoch}
			if acked := said.acked[key]; t.End != "" && acked > t.Last {
				errs = append(errs, fmt.Errorf("partition %d: the tenure of epoch %d ends with message %d, and its owner "+
					"acknowledged message %d", p, t.Epoch, t.Last, acked))
			}
			if t.End == cluster.Taken && i+1 < len(tenures) && tenures[i+1].Log != t.Log {
				n, err := groupsBehind(logs[t.Log], tenures[i:], said.commits[key])
				errs = append(errs, err, f.count(p, t.Epoch, n))
			}
		}
	}
	found := slices.ContainsFunc(d.members, func(m *rig.Member) bool { return strings.Contains(m.Output(), fencedMessage) })
	if f.Taken == 0 || f.Acked == 0 || !found {
		errs = append(errs, errors.New("no owner was replaced, none was heard, or none that continued found it: nothing was tested"))
	}
	if n := d.auditor.nc.Stats().Reconnects; n > 0 {
		errs = append(errs, fmt.Errorf("the auditor was disconnected %d times: it may not have heard everything", n))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s\n%w\n%s", r, err, d.said())
	}
	return nil
}

// groupsBehind counts the groups in a log behind the first of some tenures, and before the next one of the same log.
// An owner says for each group where its log is then, so each stretch between two such places is one.
func groupsBehind(log check.Place, tenures []cluster.Tenure, said []sink.Position) (groups int, err error) {
	begin, err := sink.ParsePosition(tenures[0].To)
	if err != nil {
		return 0, err
	}
	end := check.EndOfLog
	for _, t := range tenures[1:] {
		if t.Log == tenures[0].Log {
			if end, err = sink.ParsePosition(t.From); err != nil {
				return 0, err
			}
			break
		}
	}
	for _, at := range append(slices.SortedFunc(slices.Values(said), sink.Position.Compare), end) {
		if at.Compare(begin) <= 0 || at.Compare(end) > 0 {
			continue
		}
		n, err := log.Lines(begin, at)
		if err != nil {
			return 0, err
		}
		if begin = at; n > 0 {
			groups++
		}
	}
	return groups, nil
}
