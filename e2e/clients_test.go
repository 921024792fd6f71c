package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fanin/e2e/rig"
	"fanin/internal/freeport"
)

// TestClients runs programs that send syslog, RELP or GELF, each with the configuration
// that docs/clients.md shows for it, against the collector that it shows. A script has the
// commands of TestManual, and these: collector starts that collector, "lines FILE"
// compares the whole log with a file, and verified stops the collector and verifies its log.
func TestClients(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl, which makes the certificates, is not installed: make setup")
	}
	peers := t.TempDir()
	if err := rig.Peers(peers); err != nil {
		t.Fatal(err)
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	tls := t.TempDir()
	if err := certificates(tls); err != nil {
		t.Fatal(err)
	}
	params := manual()
	params.Dir = filepath.Join("testdata", "clients")
	setup := params.Setup
	params.Setup = func(env *testscript.Env) error {
		if err := setup(env); err != nil {
			return err
		}
		env.Setenv("PATH", peers+":"+env.Getenv("PATH")+":/usr/sbin:/sbin")
		env.Setenv("GOCACHE", strings.TrimSpace(string(cache))) // of the programs' own build
		env.Setenv("CGO_ENABLED", "0")                          // likewise
		env.Values[collectorKey{}] = new(rig.Process)
		if err := os.Symlink(tls, filepath.Join(env.WorkDir, "tls")); err != nil {
			return err
		}
		return settle(env)
	}
	params.Cmds["collector"] = startCollector
	params.Cmds["lines"] = lines
	params.Cmds["verified"] = verified
	testscript.Run(t, params)
}

// collectorKey is where a script's collector is among its values.
type collectorKey struct{}

func collectorOf(ts *testscript.TestScript) *rig.Process {
	return ts.Value(collectorKey{}).(*rig.Process)
}

// documentedPorts are the ports of docs/clients.md, and the variables with which a script
// names those that they become.
var documentedPorts = []struct{ port, name string }{
	{"514", "SYSLOG"}, {"6514", "TLS"}, {"6515", "MTLS"}, {"2514", "RELP"}, {"2515", "RELPTLS"}, {"1514", "RELAY"}, {"12201", "GELF"},
}

// settle makes the script's files, and the collector's configuration of docs/clients.md,
// at home on this machine: other addresses, ports and directories, and nothing else.
func settle(env *testscript.Env) error {
	document, err := os.ReadFile(filepath.Join(rig.Root(), "docs", "clients.md"))
	if err != nil {
		return err
	}
	block := regexp.MustCompile("(?s)<!-- collector -->\n```toml\n(.*?)```").FindSubmatch(document)
	if block == nil {
		return errors.New("docs/clients.md has no block marked <!-- collector -->")
	}
	if err := os.WriteFile(filepath.Join(env.WorkDir, "collector.toml"), block[1], 0o644); err != nil {
		return err
	}
	free, err := freeport.Find(len(documentedPorts))
	if err != nil {
		return err
	}
	replace := []string{"0.0.0.0:", "127.0.0.1:", "192.0.2.10", "127.0.0.1", "192.0.2.20", "127.0.0.1", "/etc/fanin/", env.WorkDir + "/", "/run/fanin/", env.WorkDir + "/",
		"/var/lib/fanin", env.WorkDir + "/state", "/var/log/fanin/", env.WorkDir + "/"}
	ports := make(map[string]string)
	for i, p := range documentedPorts {
		ports[p.port] = fmt.Sprint(free[i])
		env.Setenv(p.name, ports[p.port])
	}
	return rewrite(env.WorkDir, strings.NewReplacer(replace...), ports)
}

var number = regexp.MustCompile(`\b\d+\b`)

// rewrite replaces text and ports in all files of a directory, but not in what a script
// expects.
func rewrite(dir string, text *strings.Replacer, ports map[string]string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.Type().IsRegular() || strings.HasPrefix(f.Name(), "want") {
			continue
		}
		path := filepath.Join(dir, f.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out := number.ReplaceAllStringFunc(string(b), func(n string) string {
			if ours, ok := ports[n]; ok {
				return ours
			}
			return n
		})
		if err := os.WriteFile(path, []byte(text.Replace(out)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// startCollector starts the collector of docs/clients.md.
func startCollector(ts *testscript.TestScript, _ bool, _ []string) {
	p := collectorOf(ts)
	p.Path, p.Args, p.Wait = filepath.Join(programs.Dir, "fanin-collector"), []string{"--config", ts.MkAbs("collector.toml")}, "writing "
	ts.Defer(func() {
		p.Kill()
		ts.Logf("the collector:\n%s", p.Output())
	})
	ts.Check(p.Start())
}

// certificates makes those of docs/certificates.md in a directory: of an authority, of
// the server collector.example and of the client web-1.
func certificates(dir string) error {
	recipe, err := os.ReadFile(filepath.Join(rig.Root(), "docs", "certificates.md"))
	if err != nil {
		return err
	}
	script := ""
	for _, m := range regexp.MustCompile("(?s)<!-- test -->\n```sh\n(.*?)```").FindAllSubmatch(recipe, -1) {
		script += string(m[1])
	}
	c := exec.Command("sh", "-euc", script)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("the recipe of docs/certificates.md: %w\n%s", err, out)
	}
	return nil
}

// verified stops the collector, and has it compare each byte of the log with its ledger.
func verified(ts *testscript.TestScript, _ bool, _ []string) {
	code, err := collectorOf(ts).Stop()
	ts.Check(err)
	if code != 0 {
		ts.Fatalf("the collector ends with %d", code)
	}
	ts.Check(ts.Exec("fanin-collector", "verify", "--config", "collector.toml"))
}

// lines waits until the log has the lines of a file, in any order, and fails at the first
// other line: lines FILE. The file has them as a reader of docs/clients.md is to expect
// them, without the time, of process 4711 on a host web-1 with the address 192.0.2.1. A
// line that begins with a tilde is an expression, for what differs each time.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	want := strings.Split(strings.TrimSuffix(ts.ReadFile(args[0]), "\n"), "\n")
	host, err := os.Hostname()
	ts.Check(err)
	var log string
	var missing []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs("all.log"))
		if err != nil && !os.IsNotExist(err) {
			ts.Check(err)
		}
		log = documented(string(b[:bytes.LastIndexByte(b, '\n')+1]), host)
		var other string
		if missing, other = compare(want, log); other != "" {
			ts.Fatalf("this line should not be there:\n%s\nthe log has, without the time,\n%s\nand lacks\n%s", other, log, strings.Join(missing, "\n"))
		}
		if len(missing) == 0 {
			return
		}
	}
	ts.Fatalf("the log has, without the time,\n%s\nand lacks\n%s", log, strings.Join(missing, "\n"))
}

// compare returns the lines that a log lacks, and one that it should not have.
func compare(want []string, log string) (missing []string, other string) {
	missing = slices.Clone(want)
	for line := range strings.Lines(log) {
		line = strings.TrimSuffix(line, "\n")
		i := slices.IndexFunc(missing, func(w string) bool {
			pattern, ok := strings.CutPrefix(w, "~")
			return w == line || ok && regexp.MustCompile("^(?:"+pattern+")$").MatchString(line)
		})
		if i < 0 {
			return missing, line
		}
		missing = slices.Delete(missing, i, i+1)
	}
	return missing, ""
}

// patience is how long lines may take: more than a slow machine does.
const patience = 60 * time.Second

var (
	shownTime = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+ `)
	processID = regexp.MustCompile(`\[\d+\]`)
	loopback  = regexp.MustCompile(`\b127\.0\.0\.1\b`)
)

// documented is a log as the document shows it.
func documented(log, host string) string {
	log = shownTime.ReplaceAllString(log, "")
	log = processID.ReplaceAllString(log, "[4711]")
	log = loopback.ReplaceAllString(log, "192.0.2.1")
	short, _, _ := strings.Cut(host, ".")
	for _, name := range []string{host, short} {
		log = regexp.MustCompile(`(?m)(^|host=)`+regexp.QuoteMeta(name)+` `).ReplaceAllString(log, "${1}web-1 ")
	}
	return log
}
