package agent

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanin/internal/certs/certstest"
	"fanin/internal/daemon"
)

// fresh makes a directory with files and other things that an agent may be told to
// follow.
func fresh(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("logs"), 0o700), os.WriteFile(at("logs/a.log"), []byte("a\n"), 0o600), os.WriteFile(at("logs/b.log"), []byte("b\n"), 0o600),
		os.Symlink("a.log", at("logs/link.log")), os.Mkdir(at("logs/dir"), 0o700), syscall.Mkfifo(at("pipe"), 0o600), os.Mkdir(at("state"), 0o700), os.Symlink("state", at("also"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// check is what `check` says of a text.
func check(t testing.TB, dir, text string) (*settings, string, error) {
	t.Helper()
	path := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := (&options{config: path}).load(nil)
	var notes strings.Builder
	if err == nil {
		err = s.checkEnvironment(&notes)
	}
	return s, notes.String(), err
}

// start runs an agent until it answers on its socket or ends, and stops it then.
func start(s *settings) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s, nil) }() // ends by stop
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("ended by itself")
			}
			return err
		case <-time.After(2 * time.Millisecond):
		}
		if _, err := askStatus(s.Agent.State); err == nil {
			stop()
			return <-ended
		}
	}
}

// TestCheckRefuses: each of these is found by check and refused by the start, as a
// mistake of the configuration.
func TestCheckRefuses(t *testing.T) {
	a := certstest.New(t)
	files := func(c x509.Certificate) string {
		ca, cert, key := a.Files(t.TempDir(), a.Issue(c))
		return fmt.Sprintf("tls = {ca = %q, cert = %q, key = %q}", ca, cert, key)
	}
	f := func(name, agent, paths, want string, starts bool) {
		t.Run(name, func(t *testing.T) {
			dir := fresh(t)
			if !strings.Contains(agent, "state") {
				agent += "\nstate = \"DIR/state\""
			}
			if !strings.Contains(agent, "to =") {
				agent += "\nto = [\"tcp://127.0.0.1:1\"]"
			}
			if !strings.Contains(agent, "id =") {
				agent += "\nid = \"web-1\""
			}
			text := strings.ReplaceAll("[agent]\nlog_level = \"error\"\n"+agent+"\n[[agent.file]]\npaths = ["+paths+"]\n", "DIR", dir)
			s, _, err := check(t, dir, text)
			want = strings.ReplaceAll(want, "DIR", dir)
			if err == nil || !strings.Contains(err.Error(), want) || daemon.Code(err) != daemon.ExitConfig {
				t.Errorf("check says %v, with code %d; want %q", err, daemon.Code(err), want)
			}
			if s == nil { // not even loaded, by the start neither
				return
			}
			if err := start(s); (err == nil) != starts {
				t.Errorf("the start says %v", err)
			}
		})
	}
	good := `"DIR/logs/*.log"`
	f("an unset variable", "host = \"${FANIN_NOT_SET}\"", good, "agent.toml:3: host: the environment variable FANIN_NOT_SET is not set; set it for this program, or write a default", false)
	f("two stars in a name", "", `"DIR/**.log"`, "must be a whole part of the path", false)
	f("two stars in a name to exclude", "", good+"]\nexclude = [\"**x\"", "must be a whole part of the path", false)
	f("a brace", "", `"DIR/{a.log"`, "invalid pattern", false)
	f("too many alternatives", "", `"DIR/`+strings.Repeat("{a,b}", 9)+`"`, "stand for more than 256 patterns", false)
	f("everything", "", `"/**"`, "matches the agent's own state (DIR/state/marks)", false)
	f("everything below", "", `"DIR/**"`, "matches the agent's own state (DIR/state/marks)", false)
	f("own marks by alternatives", "", `"DIR/{logs,state}/*"`, "matches the agent's own state (DIR/state/marks)", false)
	f("own marks below a link", "", `"DIR/al*/**/marks"`, "matches the agent's own state (DIR/also/marks)", false)
	f("own spool", "", `"DIR/**/*.seg"`, "matches the agent's own state (DIR/state/spool/x/", false)
	f("own spool by its name", "", `"DIR/state/spool/other/*"`, "matches the agent's own state (DIR/state/spool/other/*)", false)
	f("own runs", "", `"DIR/*/runs/**/*"`, "matches the agent's own state (DIR/state/runs/x/", false)
	f("the collector's log", "to = [\"127.0.0.1:6789\"]", good+"]\n[collector.log]\npath = \"DIR/logs/all.log\"\n[[agent.file]]\npaths = [\"DIR/x\"",
		"matches the log of the collector in this file (DIR/logs/all.log)", false)
	f("the collector's rotated log", "to = [\"localhost:6789\"]", `"DIR/**/*-*.log"]`+"\n[collector.log]\npath = \"DIR/logs/all.log\"\n[[agent.file]]\npaths = [\"DIR/x\"",
		"matches the log of the collector in this file (DIR/logs/all-2026", false)
	f("a source of unknown parts", "", good+"]\nsource = \"{dir}/{base}\"\nexclude = [", `unknown part "{base}" in "{dir}/{base}"; want {name}`, false)
	f("the collector's source", "", good+"]\nsource = \"fanin\"\nexclude = [", "is the collector's own source", false)
	f("no files at a time", "max_files = 0", good, "max_files is 0; want at least 1", false)
	f("a path in two tables", "", good+"]\n[[agent.file]]\npaths = ["+good, "is in agent.file[0] already", false)
	f("a path twice", "", good+", "+good, "is there twice", false)
	f("own marks", "", `"DIR/state/*"`, "matches the agent's own state", false)
	f("own marks by wildcards", "", `"DIR/*/ma*"`, "matches the agent's own state", false)
	f("own marks through a link", "", `"DIR/also/marks"`, "matches the agent's own state", false)
	f("own state through a link", "state = \"DIR/also\"", `"DIR/state/*"`, "matches the agent's own state", false)
	f("a directory", "", `"DIR/logs/dir"`, "is a directory; it must be a regular file", false)
	f("a pipe", "", `"DIR/pipe"`, "is a named pipe (FIFO)", false)
	f("a device", "", `"/dev/null"`, "is a device", false)
	f("state is a file", "state = \"DIR/logs/a.log\"", good, "is a file; it must be a directory", false)
	f("state is a pipe", "state = \"DIR/pipe\"", good, "is a named pipe (FIFO)", false)
	f("state too deep", "state = \"DIR/"+strings.Repeat("s", 100)+"\"", good, "sockets allow 107", false)
	f("memory", "memory = \"1TiB\"", good, "agent.memory is 1TiB, and this machine", false)
	f("the collector's name", "id = \"fanin\"", good, "the collector's own name", false)
	now := time.Now()
	tls := func(c x509.Certificate) string { return "to = [\"tls://127.0.0.1:1\"]\n" + files(c) }
	f("expired", tls(x509.Certificate{Subject: pkix.Name{CommonName: "web-1"}, NotAfter: now.Add(-time.Hour)}), good, "expired on", true)
	f("wrong name", tls(x509.Certificate{Subject: pkix.Name{CommonName: "web-2"}, NotAfter: now.Add(time.Hour)}), good, `is not for "web-1"`, true)
}

// TestCheckNotes: what is right, but perhaps not meant, is told.
func TestCheckNotes(t *testing.T) {
	dir := fresh(t)
	text := strings.ReplaceAll(`[agent]
id = "web-1"
state = "DIR/state"
to = ["tcp://127.0.0.1:1"]
[[agent.file]]
paths = ["DIR/logs/a*.log", "DIR/none*"]
[[agent.file]]
paths = ["DIR/logs/*.log", "DIR/*"]
exclude = ["pipe"]
`, "DIR", dir)
	_, notes, err := check(t, dir, text)
	for _, want := range []string{"note: no file matches " + dir + "/none* yet\n", "note: " + dir + "/logs/a.log is followed as agent.file[0] sets; agent.file[1] matches it too\n"} {
		if err != nil || !strings.Contains(notes, want) {
			t.Errorf("%v; lacks %q:\n%s", err, want, notes)
		}
	}
}

// TestCheckedStarts: what check accepts starts, whatever the configuration.
func TestCheckedStarts(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		dir := fresh(t)
		pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(r, what) }
		often := func(what, usual string, rare ...string) string {
			if rapid.IntRange(0, 9).Draw(r, what+"?") < 9 {
				return usual
			}
			return pick(what, rare...)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "[agent]\nlog_level = \"error\"\nto = [%q]\nid = %q\nstate = %q\nmemory = %q\n", pick("to", "tcp://127.0.0.1:1", "udp://127.0.0.1:1", "tls://localhost:1"),
			often("id", "web-1", "fanin", "a b"), filepath.Join(dir, often("state", pick("good state", "state", "new/state", "also"), "logs/a.log", "pipe", strings.Repeat("s", 107))),
			often("memory", "12MiB", "1TiB"))
		for range rapid.IntRange(1, 2).Draw(r, "tables") {
			fmt.Fprintf(&b, "[[agent.file]]\npaths = [%q, %q]\n", filepath.Join(dir, pick("path", "logs/*.log", "logs/a.log", "logs/link.log", "none.log", "*")),
				filepath.Join(dir, often("more", "later/*", "logs/dir", "pipe", "state/*", "**/x", "**", "{logs,x}/*", "[")))
		}
		s, _, err := check(t, dir, b.String())
		if err != nil {
			refused++
			return
		}
		accepted++
		if err := start(s); err != nil {
			r.Fatalf("check accepted this, and it does not start: %v\n%s", err, b.String())
		}
	})
	if least := (accepted + refused) / 20; accepted < least || refused < least {
		t.Errorf("%d accepted and %d refused: too few of one to mean anything", accepted, refused)
	}
}
