package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/daemon"
)

// TestCheckBesideAgent: a configuration can be checked while an agent runs with it, as before a reload;
// what that agent holds is no mistake. An address that another program holds is one.
func TestCheckBesideAgent(t *testing.T) {
	dir := t.TempDir()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	const text = "[agent]\nid = \"a\"\nstate = %q\nto = [\"tcp://127.0.0.1:1\"]\n[agent.http]\nlisten = %q\n" +
		"[[agent.unix]]\npath = %q\n"
	configuration := func(address string) string {
		return fmt.Sprintf(text, filepath.Join(dir, "state"), address, filepath.Join(dir, "log.sock"))
	}
	taken := other.Addr().String()
	if _, _, err := check(t, dir, configuration(taken)); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("the address of another program: %v", err)
	}
	s, notes, err := check(t, dir, configuration("127.0.0.1:0"))
	if err != nil || notes != "" {
		t.Fatalf("%v, %q", err, notes)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s, nil) }() // ends by stop
	defer func() { stop(); <-ended }()
	for range 1000 {
		if _, err = askStatus(s.Agent.State); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	_, notes, again := check(t, dir, configuration("127.0.0.1:0"))
	if err != nil || again != nil || !strings.Contains(notes, "note: an agent is running with the state") {
		t.Errorf("beside the agent: %v, %v, %q", err, again, notes)
	}
}

// TestMistypedCommand: what is almost a command is no file to wait for, unless it exists or is written as
// a path.
func TestMistypedCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, f := range []struct {
		path     string
		exists   bool
		mistaken bool
	}{{"stauts", false, true}, {"chekc", false, true}, {"stauts", true, false}, {"./stauts", false, false},
		{"app.log", false, false}, {"messages", false, false}, {"-", false, false}, {"syslog", false, false}} {
		os.Remove("stauts")
		if f.exists {
			write(t, "stauts", "")
		}
		err := mistyped(Command(), []string{f.path})
		if got := daemon.Code(err) == daemon.ExitUsage; got != f.mistaken {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// TestStatusNotFollowed: the status names a file that a table names and that is not followed, and counts the
// lines of files and of sockets.
func TestStatusNotFollowed(t *testing.T) {
	st := status{NotFollowed: []fileNote{{"/var/log/x.log", "open /var/log/x.log: permission denied"}},
		Counts: map[string]uint64{"lines": 1, "spool_acknowledged_lines": 2}}
	var text strings.Builder
	st.print(&text)
	if want := "not followed: /var/log/x.log: open /var/log/x.log: permission denied\n"; !strings.HasSuffix(text.String(), want) {
		t.Errorf("%q", text.String())
	}
	if !strings.Contains(text.String(), "\n3 lines acknowledged since ") {
		t.Errorf("%q", text.String())
	}
}
