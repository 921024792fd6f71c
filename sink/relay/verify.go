package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanin/internal/wire"
	"fanin/sink"
)

// Report is what Verify found.
type Report struct {
	To        string   `json:"to"`
	Upstream  string   `json:"upstream,omitempty"` // its log's id; "": it was not met yet
	Position  string   `json:"position,omitempty"` // up to which the upstream has this log
	End       string   `json:"end"`                // of this log, when Verify began
	LagBytes  int64    `json:"lag_bytes"`          // from position to end
	LagLines  uint64   `json:"lag_lines"`
	Unrelayed uint64   `json:"unrelayed_lines"` // since the start: removed before they were forwarded
	TooLong   uint64   `json:"too_long_lines"`  // since the start
	Doubted   uint64   `json:"doubted"`         // since the start: times that lines may have been forwarded twice
	Problems  []string `json:"problems,omitempty"`
}

// OK reports whether the upstream has all.
func (r *Report) OK() bool { return len(r.Problems) == 0 && r.LagBytes == 0 }

const (
	verifyTime  = 5 * time.Second
	verifyEvery = 20 * time.Millisecond
)

// Verify compares both ends: what the upstream has acknowledged in this session, and what this log has.
// It waits a while for what is in the log already. Of what the upstream has it knows the position,
// and the hash of the bytes before it, which it computes again from the file.
func (r *Relay) Verify(ctx context.Context) (Report, error) {
	limit, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	end := r.sink.End()
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	for waiting := true; waiting; {
		at, confirmed, blocked := r.confirmed()
		if blocked || confirmed && r.sink.Distance(at.at, end) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			waiting = false
		}
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	return r.report(ctx, end)
}

// confirmed returns the place that was acknowledged, whether that was in this session, and whether
// none will be.
func (r *Relay) confirmed() (at place, confirmed, blocked bool) {
	connected := r.Trouble() == ""
	r.mu.Lock()
	defer r.mu.Unlock()
	confirmed = connected && r.state.upstream != nil && r.state.confirmed == r.state.upstream
	return r.at, confirmed, r.state.blocked != ""
}

func (r *Relay) report(ctx context.Context, end sink.Position) (x Report, err error) {
	at, confirmed, _ := r.confirmed()
	st := r.Status()
	x = Report{To: st.To, Upstream: st.Upstream, Position: st.Position, End: end.String(),
		LagBytes:  r.sink.Distance(at.at, end),
		Unrelayed: st.Expired, TooLong: st.TooLong, Doubted: r.counts.doubted.Load()}
	if x.LagBytes > 0 {
		if x.LagLines, _, err = r.sink.Count(ctx, at.at, end); err != nil {
			return x, fmt.Errorf("count the lines that the upstream does not have: %w", err)
		}
	}
	switch {
	case st.Waits != "":
		x.Problems = append(x.Problems, "nothing is forwarded: "+st.Waits)
	case !confirmed:
		x.Problems = append(x.Problems, "the upstream has not confirmed what it has since the last connection")
	}
	why, err := r.changed(ctx, at)
	if why != "" {
		x.Problems = append(x.Problems, why)
	}
	return x, err
}

// changed is what is wrong with the bytes of this log that were acknowledged last, "" if nothing is.
func (r *Relay) changed(ctx context.Context, at place) (why string, err error) {
	if at.at.Offset == 0 {
		return "", nil // the beginning of a file proves nothing
	}
	text, err := r.sink.TailText(ctx, at.at)
	switch {
	case errors.As(err, new(*sink.GoneError)):
		return "", nil // the file was removed since
	case errors.Is(err, sink.ErrNoPosition), err == nil && wire.TailHash(text) != at.tail:
		return fmt.Sprintf("the bytes before position %s of this log are not those that the upstream acknowledged: "+
			"another process changed the file", at.at), nil
	}
	return "", err
}
