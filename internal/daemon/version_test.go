package daemon

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	if v := Version("fanin-agent"); !strings.HasPrefix(v, "fanin-agent "+Release+" (") || !strings.Contains(v, "go1.") {
		t.Errorf("the version is %q", v)
	}
	settings := []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "arm64"}}
	for want, more := range map[string][]debug.BuildSetting{
		"p " + Release + " (unknown, unknown, go1.99, linux/arm64)": nil,
		"p " + Release + " (0123456789ab, 2026-11-26T09:00:00Z, go1.99, linux/arm64)": {{Key: "vcs.revision", Value: "0123456789abcdef"},
			{Key: "vcs.time", Value: "2026-11-26T09:00:00Z"}, {Key: "vcs.modified", Value: "false"}},
		"p " + Release + " (0123456789ab-modified, 2026-11-26T09:00:00Z, go1.99, linux/arm64)": {{Key: "vcs.revision", Value: "0123456789abcdef"},
			{Key: "vcs.time", Value: "2026-11-26T09:00:00Z"}, {Key: "vcs.modified", Value: "true"}},
	} {
		if got := describe("p", &debug.BuildInfo{GoVersion: "go1.99", Settings: append(more, settings...)}); got != want {
			t.Errorf("the version is %q, want %q", got, want)
		}
	}
}
