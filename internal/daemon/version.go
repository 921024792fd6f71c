package daemon

import (
	"fmt"
	"runtime/debug"
)

// Release is the version of this source.
const Release = "0.1.0"

// Version describes the program, for --version: its release, the commit that it was built from, and
// when that commit was made. Two builds of one commit say the same.
func Version(name string) string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return name + " " + Release
	}
	return describe(name, info)
}

// describe names the commit "unknown" where the build had none, and with "-modified" behind it where
// the sources were changed after it.
func describe(name string, info *debug.BuildInfo) string {
	s := make(map[string]string)
	for _, setting := range info.Settings {
		s[setting.Key] = setting.Value
	}
	revision, at := s["vcs.revision"], s["vcs.time"]
	if revision == "" {
		revision, at = "unknown", "unknown"
	}
	revision = revision[:min(12, len(revision))]
	if s["vcs.modified"] == "true" {
		revision += "-modified"
	}
	return fmt.Sprintf("%s %s (%s, %s, %s, %s/%s)", name, Release, revision, at, info.GoVersion, s["GOOS"], s["GOARCH"])
}
