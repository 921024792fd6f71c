package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is among the runs and is none is left alone, and reported. A run that was killed before it
// had anything is removed.
func TestForeignAmongRuns(t *testing.T) {
	_, addr := collect(t)
	s := piped(t, addr, t.TempDir())
	at := func(name ...string) string { return filepath.Join(append([]string{s.runsDir()}, name...)...) }
	name, other := runName(time.Now()), runName(time.Now())
	foreign := []string{at("backup"), at("backup.done"), at("file"), at(name)}
	for _, dir := range []string{at("backup"), at("backup.done"), at(name, "mine"), at(other), at(other + doneSuffix)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, at("file"), "x")
	write(t, at(other+doneSuffix, "half removed"), "x")
	var log strings.Builder
	a := newAdopter(s, slog.New(slog.NewTextHandler(&log, nil)))
	if !a.pass(t.Context()) {
		t.Error("something is left to send")
	}
	left := runs(t, s.Agent.State)
	slices.Sort(foreign)
	if !slices.Equal(left, foreign) {
		t.Errorf("left are %v, want %v", left, foreign)
	}
	for _, path := range foreign {
		if !strings.Contains(log.String(), path) {
			t.Errorf("%s is not reported:\n%s", path, log.String())
		}
	}
}
