package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fanin/internal/tail"
	"fanin/internal/waittest"
)

// TestReload: SIGHUP applies all of a new configuration, or nothing, and says why.
func TestReload(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	load := func(agent, files string) func() (*settings, error) {
		path := write(t, filepath.Join(dir, "agent.toml"), fmt.Sprintf("[agent]\nid = \"web-1\"\nto = [\"127.0.0.1:1\"]\nstate = %q\n%s[[agent.file]]\n%s\n", state, agent, files))
		return (&options{config: path}).loader(nil)
	}
	good := "paths = [\"/x/*.log\"]"
	s, err := load("", good)()
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{settings: s, level: new(slog.LevelVar), tailer: &tail.Tailer{}}
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	f := func(agent, files, want string, used bool) {
		t.Helper()
		log.Reset()
		in := a.reload(s, load(agent, files))
		if !strings.Contains(log.String(), want) || (in != s) != used {
			t.Errorf("%s%s: it is used: %v; it logged %s, want %s", agent, files, in != s, log.String(), want)
		}
	}
	const no = "level=ERROR msg=\"SIGHUP: nothing was changed, because some changes need a restart"
	f("", good, "level=INFO msg=\"SIGHUP: the configuration is unchanged", true)
	f("memory = \"13MiB\"\nhost = \"h\"\nlog_level = \"debug\"\n", "paths = [\"/y\"]", no, false)
	f("memory = \"13MiB\"\nhost = \"h\"\nlog_level = \"debug\"\n", "paths = [\"/y\"]", "restart_for=agent.host,agent.memory", false)
	f("poll = \"1s\"\nnats = {subject = \"x\"}\n", good, "restart_for=agent.nats.subject,agent.poll", false)
	f("", "paths = [", "level=ERROR msg=\"SIGHUP: the configuration has mistakes", false)
	f("", "paths = [\"/y\"]\nsource = \"{x}\"", "unknown part", false)
	f("", fmt.Sprintf("paths = [%q]", filepath.Join(dir, "directory")), "is a directory; it must be a regular file", false)
	f("", "paths = [\"${NOT_SET}\"]", "NOT_SET is not set", false)
	if a.level.Level() != slog.LevelInfo {
		t.Errorf("the level is %v", a.level.Level())
	}
	f("log_level = \"debug\"\n", "paths = [\"/y\"]", "level=INFO msg=\"SIGHUP: the new configuration is in force\" changed=agent.file,agent.log_level", true)
	if a.level.Level() != slog.LevelDebug {
		t.Errorf("the level is %v", a.level.Level())
	}
}

// Each SIGHUP reads the configuration once, until the agent ends.
func TestReloadOnHangup(t *testing.T) {
	reads := make(chan struct{}, 10)
	a := &agent{settings: defaults(), log: slog.New(slog.DiscardHandler), level: new(slog.LevelVar), tailer: &tail.Tailer{}}
	hangups, done, ended := make(chan os.Signal), make(chan struct{}), make(chan struct{})
	go func() { // ends by done
		a.reloadOnHangup(hangups, done, func() (*settings, error) { reads <- struct{}{}; return defaults(), nil })
		close(ended)
	}()
	for range 3 {
		hangups <- syscall.SIGHUP
		<-reads
	}
	close(done)
	<-ended
	waittest.UntilEqual(t, "reads", 0, func() int { return len(reads) })
}
