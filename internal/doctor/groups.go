package doctor

import (
	"fmt"
	"strings"
	"time"
)

// Group is how far a group of workers is behind.
type Group struct {
	Name    string
	Bytes   int64
	Age     time.Duration // of its oldest line that is not finished
	Expired uint64        // lines that were removed before it finished them
}

// Kept is how much of the log is kept, and how long; < 0 or 0: without a limit.
type Kept struct {
	Bytes int64
	Age   time.Duration
}

// Behind judges whether the log is kept as long as groups need it. A group that is behind by half
// of it will lose lines when its workers stop for as long again.
func Behind(groups []Group, kept Kept) (found []Finding) {
	const remedy = "set collector.work.keep_for_groups (or raise collector.log.keep_bytes and keep_age), or start " +
		"more workers"
	for _, g := range groups {
		where := "group " + g.Name
		switch {
		case g.Expired > 0:
			found = append(found, wrong(where, remedy, fmt.Sprintf("%d lines were removed from the log before the "+
				"group finished them", g.Expired))...)
		case kept.Bytes > 0 && g.Bytes > kept.Bytes/2:
			found = append(found, risk(where, remedy, fmt.Sprintf("it is behind by %s, and %s are kept",
				size(g.Bytes), size(kept.Bytes)))...)
		case kept.Age > 0 && g.Age > kept.Age/2:
			found = append(found, risk(where, remedy, fmt.Sprintf("it is behind by %s, and lines are kept for %s",
				g.Age.Round(time.Second), kept.Age))...)
		}
	}
	return found
}

// Patterns finds patterns that match nothing; found is how many files each matches.
func Patterns(patterns []string, count func(pattern string) int) (found []Finding) {
	for _, p := range patterns {
		if count(p) == 0 {
			found = append(found, risk(p, "compare it with ls, and see that the agent's user may enter the directories",
				"no file matches it")...)
		}
	}
	return found
}

// Usable reports an error of several lines as that many findings; nil is fine. Lines that begin
// with a space quote the configuration.
func Usable(where, remedy string, err error) (found []Finding) {
	if err == nil {
		return nil
	}
	for line := range strings.Lines(err.Error()) {
		if strings.HasPrefix(line, " ") {
			continue
		}
		found = append(found, wrong(where, remedy, strings.TrimSpace(line))...)
	}
	return found
}
