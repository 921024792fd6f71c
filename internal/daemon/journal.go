package daemon

import (
	"os"
	"strings"
)

// priority puts the prefix of sd-daemon(3) before a line of slog's text handler,
// by the level that the line begins with when it has no time.
type priority struct{}

func (priority) Write(line []byte) (int, error) {
	prefix := "<6>"
	for level, p := range map[string]string{"level=ERROR": "<3>", "level=WARN": "<4>", "level=DEBUG": "<7>"} {
		if strings.HasPrefix(string(line), level) {
			prefix = p
		}
	}
	if _, err := os.Stderr.Write(append([]byte(prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
