package agent

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The agent's doctor finds a pattern that matches nothing, and a collector that is not there.
func TestDoctor(t *testing.T) {
	dir := fresh(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	path := filepath.Join(dir, "agent.toml")
	text := "[agent]\nid = \"a\"\nto = [\"tcp://" + ln.Addr().String() + "\"]\nstate = \"" + dir + "/state\"\n" +
		"[[agent.file]]\npaths = [\"" + dir + "/logs/*.log\", \"" + dir + "/none/*.log\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	examine := func() string {
		var out strings.Builder
		if err := (&options{config: path}).doctor(&out); err != nil {
			out.WriteString("\nerror: " + err.Error())
		}
		return out.String()
	}
	out := examine()
	if !strings.Contains(out, "risk   "+dir+"/none/*.log: no file matches it\n") || strings.Contains(out, "cannot be reached") {
		t.Errorf("it printed\n%s", out)
	}
	if fine := out[strings.LastIndex(out, "fine: "):]; !strings.Contains(fine, "collector") || !strings.Contains(fine, "configuration") {
		t.Errorf("fine is\n%s", fine)
	}
	ln.Close()
	if out := examine(); !strings.Contains(out, "WRONG  "+ln.Addr().String()+": the collector cannot be reached") || !strings.Contains(out, "findings are wrong") {
		t.Errorf("without a collector it printed\n%s", out)
	}
}
