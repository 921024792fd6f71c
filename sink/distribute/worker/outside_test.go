package worker

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fanin/internal/waittest"
	"fanin/sink/distribute/protocol"
)

// TestOutsideModule: another Go module gets this package as docs/workers.md describes, and
// builds a worker that works, from the checkout and from a vendored copy.
func TestOutsideModule(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a program")
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(root, "docs/workers.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(doc), "<!-- outside module -->")
	recipe, _, ok := strings.Cut(recipe, "<!-- /outside module -->")
	blocks := regexp.MustCompile("(?s)```(sh|go)\n(.*?)```").FindAllStringSubmatch(recipe, -1)
	if !ok || len(blocks) != 3 || blocks[0][1] != "sh" || blocks[1][1] != "go" || blocks[2][1] != "sh" {
		t.Fatalf("docs/workers.md should have commands, a program, and commands: %q", blocks)
	}
	dir := t.TempDir()
	if err := os.Symlink(root, filepath.Join(dir, "fanin")); err != nil {
		t.Fatal(err)
	}
	mailer := filepath.Join(dir, "mailer")
	sh(t, dir, blocks[0][2])
	if err := os.WriteFile(filepath.Join(mailer, "main.go"), []byte(blocks[1][2]), 0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, mailer, blocks[2][2])
	tryOutside(t, filepath.Join(mailer, "mailer"))
	sh(t, mailer, "go mod vendor && rm mailer ../fanin && go build")
	tryOutside(t, filepath.Join(mailer, "mailer"))
}

// sh runs commands, which fetch nothing: what this module needs, it has.
func sh(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOSUMDB=off", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// tryOutside has a program work on one line.
func tryOutside(t *testing.T, program string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var out bytes.Buffer
	cmd := exec.Command(program, ln.Addr().String())
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil || out.String() != "3:100 one\n" {
			t.Errorf("the program ended with %v and printed %q", err, out.String())
		}
	}()
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(waittest.Limit))
	nc, err := ln.Accept()
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(waittest.Limit))
	r := protocol.NewReader(nc, 4096)
	if h, err := r.Hello(); err != nil || h.Group != "mail" {
		t.Errorf("the program greets with %+v, %v", h, err)
	}
	x := &conn{t: t, nc: nc}
	x.write(protocol.AppendWelcome(nil, &protocol.Welcome{Group: "mail", Lease: lease}))
	x.deliver(1, "one")
	if f, err := r.Frame(); err != nil || f.Kind != protocol.KindAck || f.To != 1 {
		t.Errorf("the program answers %+v, %v", f, err)
	}
}
