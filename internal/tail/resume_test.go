package tail

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fanin/internal/wire"
)

// outcomeRow is a row of the table in decide's comment.
type outcomeRow struct {
	remote, local, log, holds, outcome string
	met                                int
}

// outcomes reads the table.
func outcomes(t *testing.T) (rows []*outcomeRow) {
	b, err := os.ReadFile("resume.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "//\tremote ")
	if !ok {
		t.Fatal("resume.go has no table of outcomes")
	}
	for _, line := range strings.Split(table, "\n")[1:] {
		line, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			return rows
		}
		var columns []string
		for _, c := range strings.Split(line, "  ") {
			if c = strings.TrimSpace(c); c != "" {
				columns = append(columns, c)
			}
		}
		if len(columns) != 5 {
			t.Fatalf("a row with %d columns: %q", len(columns), line)
		}
		rows = append(rows, &outcomeRow{remote: columns[0], local: columns[1], log: columns[2], holds: columns[3], outcome: columns[4]})
	}
	return rows
}

// fits reports whether the row is of a situation.
func (r *outcomeRow) fits(s *situation) bool {
	local, remote := "sent", "known"
	if s.remote == nil {
		remote = "unknown"
	}
	switch {
	case s.local.unsent:
		local = "unsent"
	case s.remote != nil && s.local.epoch > s.remote.Epoch:
		local = "later"
	case s.remote != nil && s.local.epoch == s.remote.Epoch && s.local.Offset > s.remote.Offset:
		local = "ahead"
	}
	log := "changed"
	if s.sameLog {
		log = "same"
	}
	if r.remote != remote || r.local != "-" && r.local != local || r.log != "-" && r.log != log {
		return false
	}
	holdsLocal, holdsRemote := s.holds(s.local.Point), s.remote != nil && s.holds(s.remote.Point)
	switch r.holds {
	case "-":
		return true
	case "local":
		return holdsLocal
	case "not local":
		return !holdsLocal
	case "local, remote":
		return holdsLocal && holdsRemote
	case "remote":
		return holdsRemote
	}
	return r.holds == "neither" // the rows before have the others
}

// plan is what the row says.
func (r *outcomeRow) plan(s *situation) plan {
	epoch := s.local.epoch
	if s.remote != nil {
		epoch = s.remote.Epoch
	}
	switch r.outcome {
	case "open at local":
		return plan{epoch: epoch, base: s.local.Point}
	case "open at remote":
		return plan{epoch: epoch, base: s.remote.Point}
	case "open at the start, skip to local":
		return plan{epoch: epoch, skip: &s.local.Point}
	case "open at remote, skip to local":
		return plan{epoch: epoch, base: s.remote.Point, skip: &s.local.Point}
	case "new epoch at local":
		return plan{epoch: epoch + 1, base: s.local.Point}
	case "new epoch at the trail":
		end := s.local.Offset
		if s.remote != nil {
			end = s.remote.Offset
		}
		base := wire.Point{Offset: 10, Tail: 1} // is held in each situation
		return plan{epoch: epoch + 1, base: base, possibleDuplicates: min(s.size, end) - base.Offset}
	}
	return plan{}
}

// situations are all that differ in what decides.
func situations(visit func(s *situation)) {
	local := wire.Point{Offset: 100, Tail: 2}
	trail := []wire.Point{{Offset: 10, Tail: 1}, {Offset: 50, Tail: 9}} // the second is never held
	remotes := []*wire.Watermark{nil}
	for _, epoch := range []uint32{2, 3, 4} {
		for _, offset := range []int64{60, 100, 200} {
			p := wire.Point{Offset: offset, Tail: 3}
			if offset == local.Offset {
				p = local
			}
			remotes = append(remotes, &wire.Watermark{Epoch: epoch, Point: p, Trail: trail})
		}
	}
	for _, remote := range remotes {
		for bits := range 16 {
			s := situation{local: localState{cursor: cursor{Point: local}, epoch: 3, trail: trail, unsent: bits&1 != 0},
				remote: remote, sameLog: bits&2 != 0, size: 150}
			s.holds = func(p wire.Point) bool {
				return p.Tail == 1 || p.Tail == 2 && bits&4 != 0 || p.Tail == 3 && bits&8 != 0
			}
			visit(&s)
		}
	}
}

// TestOutcomes walks through the table: the first row that fits a situation is what is
// decided, each situation has one, and each row is needed.
func TestOutcomes(t *testing.T) {
	rows := outcomes(t)
	situations(func(s *situation) {
		what := fmt.Sprintf("remote %+v, unsent %v, same log %v, holds local %v",
			s.remote, s.local.unsent, s.sameLog, s.holds(s.local.Point))
		for _, r := range rows {
			if !r.fits(s) {
				continue
			}
			r.met++
			got, want := s.decide(), r.plan(s)
			if got.epoch != want.epoch || got.base != want.base || got.possibleDuplicates != want.possibleDuplicates ||
				(got.skip == nil) != (want.skip == nil) || got.skip != nil && *got.skip != *want.skip {
				t.Errorf("%s: %+v, want %q: %+v", what, got, r.outcome, want)
			}
			return
		}
		t.Errorf("%s: no row fits", what)
	})
	for _, r := range rows {
		if r.met == 0 {
			t.Errorf("no situation meets the row %+v", *r)
		}
	}
}

// TestNewEpochAfterRewrite: a file that was rewritten resumes where its bytes are now,
// and nothing before that counts as a possible duplicate.
func TestNewEpochAfterRewrite(t *testing.T) {
	at := func(n int64) wire.Point { return wire.Point{Offset: n, Tail: wire.Hash(n)} }
	s := situation{local: localState{cursor: cursor{Point: at(100)}, epoch: 1, trail: []wire.Point{at(10)}},
		remote: &wire.Watermark{Epoch: 1, Point: at(100)}, sameLog: true, size: 120, rewritten: at(90),
		holds: func(p wire.Point) bool { return p != at(100) }}
	if p := s.decide(); p.epoch != 2 || p.base != at(90) || p.possibleDuplicates != 0 {
		t.Errorf("rewritten: %+v", p)
	}
	if s.rewritten = at(5); s.decide().base != at(10) {
		t.Errorf("the trail's place is further, and yet: %+v", s.decide())
	}
}

// TestIdleStep: what becomes of a file that has no more lines.
func TestIdleStep(t *testing.T) {
	tl := &Tailer{Settings: Settings{Grace: 5 * time.Second, LetGo: 10 * time.Minute}}
	for _, x := range []struct {
		file idleFile
		want idleStep
	}{
		{idleFile{visible: true, quiet: time.Hour}, mayClose},
		{idleFile{visible: true, partial: true, quiet: time.Hour}, mayClose},
		{idleFile{visible: true, partial: true, whole: true}, readFinal},
		{idleFile{visible: true, partial: true, whole: true, final: true}, mayClose},
		{idleFile{}, mayClose},
		{idleFile{deleted: true}, mayClose},
		{idleFile{partial: true}, keepOpen},
		{idleFile{partial: true, quiet: 6 * time.Second}, readFinal},
		{idleFile{partial: true, quiet: 6 * time.Second, deleted: true}, readFinal},
		{idleFile{partial: true, quiet: 6 * time.Second, final: true}, keepOpen},
		{idleFile{partial: true, quiet: 6 * time.Second, superseded: true}, keepOpen},
		{idleFile{partial: true, quiet: 6 * time.Second, superseded: true, deleted: true}, letGo},
		{idleFile{quiet: 6 * time.Second, deleted: true}, letGo},
		{idleFile{quiet: 6 * time.Second}, mayClose},
		{idleFile{quiet: 11 * time.Minute}, letGo},
		{idleFile{partial: true, quiet: 11 * time.Minute, superseded: true}, letGo},
	} {
		if got := tl.idleStep(x.file); got != x.want {
			t.Errorf("%+v: step %d, want %d", x.file, got, x.want)
		}
	}
}
