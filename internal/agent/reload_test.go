package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"fanin/internal/waittest"
)

// TestReload: SIGHUP reports what a changed configuration means, and uses none of it.
func TestReload(t *testing.T) {
	var log bytes.Buffer
	load := func(id string) func() (*settings, error) {
		return (&options{to: "tcp://127.0.0.1:1", id: id, state: t.TempDir()}).loader([]string{"x.log"})
	}
	s, err := load("web-1")()
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{settings: s, log: slog.New(slog.NewTextHandler(&log, nil))}
	same := func() (*settings, error) { return s, nil }
	for want, again := range map[string]func() (*settings, error){
		"level=INFO msg=\"SIGHUP: the configuration is unchanged":     same,
		"level=WARN msg=\"SIGHUP: the configuration has changed":      load("web-2"),
		"level=ERROR msg=\"SIGHUP: the configuration has mistakes":    load("web 3"),
		"level=ERROR msg=\"SIGHUP: the configuration has mistakes; t": func() (*settings, error) { return nil, errors.New("gone") },
	} {
		log.Reset()
		a.reload(again)
		if !strings.Contains(log.String(), want) || a.settings != s {
			t.Errorf("it logged %s, want %s", log.String(), want)
		}
	}
}

// Each SIGHUP reads the configuration once, until the agent ends.
func TestReloadOnHangup(t *testing.T) {
	reads := make(chan struct{}, 10)
	a := &agent{settings: defaults(), log: slog.New(slog.DiscardHandler)}
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
