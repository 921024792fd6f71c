package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/waittest"
)

// runUnix runs an agent with a socket until what it returns is called.
func runUnix(t *testing.T, addr, state, config string) (path string, stop func()) {
	t.Helper()
	path = filepath.Join(state, "agent.sock")
	file := write(t, filepath.Join(t.TempDir(), "agent.toml"), strings.ReplaceAll(config, "PATH", path))
	s, err := (&options{to: "tcp://" + addr, id: "web-1", state: state, config: file}).load(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s, nil) }() // ends by cancel
	waittest.Until(t, "the agent", func() bool { st, err := askStatus(state); return err == nil && st.ID == "web-1" })
	return path, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestUnix: lines that are sent to a socket come with the process that sent them; while no
// collector answers they wait in the state, and the next agent sends them, also if the
// socket is not configured any more.
func TestUnix(t *testing.T) {
	m, addr := collect(t)
	state := t.TempDir()
	path, stop := runUnix(t, "127.0.0.1:1", state, "[[agent.unix]]\npath = \"PATH\"\n")
	c, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "<13>Nov  6 03:12:01 app[1]: one")
	fmt.Fprint(c, "two")
	waittest.Until(t, "the lines", func() bool {
		st, err := askStatus(state)
		return err == nil && st.Counts["spool_lines"] == 2
	})
	stop()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is still there")
	}
	_, stop = runUnix(t, addr, state, "[[agent.file]]\npaths = [\"/nothing/here\"]\n")
	waittest.UntilEqual(t, "the lines", "one\ntwo\n", func() string { return texts(m) })
	var sources []string
	for _, b := range m.Kept() {
		b.Source = "agent"
		for l, text := range b.Runs() {
			sources = append(sources, fmt.Sprintf("%s %s", l.Source, text))
		}
	}
	if want := fmt.Sprintf("[app[%d] one\n agent[%d] two\n]", os.Getpid(), os.Getpid()); fmt.Sprint(sources) != want {
		t.Errorf("%v, want %s", sources, want)
	}
	waittest.Until(t, "the spool to be gone", func() bool {
		left, err := filepath.Glob(filepath.Join(state, spoolsName, "*", "*.seg"))
		return err == nil && len(left) == 0
	})
	stop()
}

// TestUnixRefused: what cannot work is refused with the reason.
func TestUnixRefused(t *testing.T) {
	for config, want := range map[string]string{
		"[[agent.unix]]":                                                      "path is missing",
		"[[agent.unix]]\npath = \"x.sock\"":                                   "want an absolute path",
		"[[agent.unix]]\npath = \"/a\"\ntype = \"seqpacket\"":                 "datagram",
		"[[agent.unix]]\npath = \"/a\"\n[[agent.unix]]\npath = \"/a\"":        "there twice",
		"[[agent.unix]]\npath = \"/a\"\nsource = \"fanin\"":                   "the collector's own name",
		"[[agent.unix]]\npath = \"/a\"\n[agent.spool]\nwhen_full = \"never\"": "drop_oldest",
		"[[agent.unix]]\npath = \"/a\"\n[agent.spool]\nmax_bytes = \"1MiB\"":  "16",
	} {
		file := write(t, filepath.Join(t.TempDir(), "agent.toml"), config)
		_, err := (&options{to: "tcp://127.0.0.1:1", id: "web-1", state: t.TempDir(), config: file}).load(nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
	taken := write(t, filepath.Join(t.TempDir(), "taken"), "x")
	s, err := (&options{to: "tcp://127.0.0.1:1", id: "web-1", state: t.TempDir(), config: write(t, filepath.Join(t.TempDir(), "agent.toml"),
		"[[agent.unix]]\npath = \""+taken+"\"")}).load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.checkEnvironment(io.Discard); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("%v", err)
	}
	file := write(t, filepath.Join(t.TempDir(), "agent.toml"), "[[agent.unix]]\npath = \"/a\"")
	if _, err := (&options{to: "udp://127.0.0.1:1", id: "web-1", state: t.TempDir(), config: file}).load(nil); err == nil || !strings.Contains(err.Error(), "udp acknowledges nothing") {
		t.Errorf("%v", err)
	}
}
