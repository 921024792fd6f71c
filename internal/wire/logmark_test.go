package wire

import (
	"strings"
	"testing"
)

// Whatever a file of the log is called by now, it leads to the lock beside the log.
func TestLiveName(t *testing.T) {
	const stamp = "-2026-11-22T17-10-28.275"
	for path, want := range map[string]string{
		"/var/log/all" + stamp + ".log":         "/var/log/all.log",
		"/var/log/all" + stamp + ".log.gz":      "/var/log/all.log",
		"/var/log/all" + stamp:                  "/var/log/all",
		"/var/log/all" + stamp + ".gz":          "/var/log/all",
		"/var/log/all.of.it" + stamp + ".log":   "/var/log/all.of.it.log",
		"/var/log/all" + stamp + stamp + ".log": "/var/log/all" + stamp + ".log",
		"/var/log" + stamp + "/all.log":         "/var/log" + stamp + "/all.log",
		"/var/log/all.log":                      "/var/log/all.log",
		"/var/log/all-2026-11-22T17-10-28.log":  "/var/log/all-2026-11-22T17-10-28.log",
		"/var/log/all" + stamp + ".log.gz.part": "/var/log/all" + stamp + ".log.gz.part",
	} {
		if got := LiveName(path); got != want {
			t.Errorf("%s was %s, want %s", path, got, want)
		}
	}
}

// The mark of one log begins as every mark does, and is no beginning of another's.
func TestLogMark(t *testing.T) {
	begin, one, longer := LogMark(""), LogMark("abc"), LogMark("abcd")
	if !strings.HasPrefix(one, begin) || strings.HasPrefix(longer, one) || begin == one {
		t.Errorf("marks %q, %q, %q", begin, one, longer)
	}
}
