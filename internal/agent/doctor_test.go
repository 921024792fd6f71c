package agent

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanin/internal/certs"
	"fanin/internal/certs/certstest"
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
	text = strings.Replace(text, "to = [", "to = [\"tcp://none.invalid:1\", ", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := examine(); strings.Count(out, "none.invalid:1: ") != 1 || !strings.Contains(out, "fine:  configuration") {
		t.Errorf("without a name it printed\n%s", out)
	}
	if out := examine(); !strings.Contains(out, "WRONG  "+ln.Addr().String()+": the collector cannot be reached") || !strings.Contains(out, "findings are wrong") {
		t.Errorf("without a collector it printed\n%s", out)
	}
}

// The agent's doctor shakes hands as the agent does: a collector's certificate of another
// authority is found, and so is one that the collector refuses; a certificate that ends soon is a
// risk.
func TestDoctorTLS(t *testing.T) {
	ours, theirs := certstest.New(t), certstest.New(t)
	ca, cert, key := ours.Files(t.TempDir(), ours.Sign("collector"))
	config, err := certs.Files{Cert: cert, Key: key, CA: ca}.Server()
	if err != nil {
		t.Fatal(err)
	}
	_, addr := collectTLS(t, config, nil)
	otherCA, otherCert, otherKey := theirs.Files(t.TempDir(), theirs.Sign("a"))
	now := time.Now()
	_, soonCert, soonKey := ours.Files(t.TempDir(), ours.SignFor(now.Add(-100*time.Hour), now.Add(time.Hour), nil, "a", "a"))
	dir := fresh(t)
	for _, row := range []struct{ ca, cert, key, want, not string }{
		{ca, soonCert, soonKey, "risk   " + soonCert + ": the certificate expires on ", "cannot be reached"},
		{otherCA, soonCert, soonKey, "is not signed by an authority in " + otherCA, ""},
		{ca, otherCert, otherKey, "does not accept this side's certificate " + otherCert, ""},
	} {
		path := filepath.Join(dir, "agent.toml")
		text := "[agent]\nid = \"a\"\nto = [\"tls://" + addr + "\"]\nstate = \"" + dir + "/state\"\ntls = {ca = \"" + row.ca +
			"\", cert = \"" + row.cert + "\", key = \"" + row.key + "\"}\n[[agent.file]]\npaths = [\"" + dir + "/logs/*.log\"]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		(&options{config: path}).doctor(&out)
		if got := out.String(); !strings.Contains(got, row.want) || row.not != "" && strings.Contains(got, row.not) {
			t.Errorf("it printed\n%s\nwant %q", got, row.want)
		}
	}
}
