package fanin_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fanin/e2e/rig"
	"fanin/internal/freeport"
)

// freePort finds a number that is free for tcp and udp on this machine.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := freeport.One()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// What the README says to type works, as it stands there, and does what it says.
func TestReadmeCommands(t *testing.T) {
	for _, tool := range []string{"nc", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	script := strings.Join(blocks(t, "README.md", "test"), "")
	// Who types waits for "listening"; a script must do so too.
	background := regexp.MustCompile(`(?m)^fanin-collector .*&$`)
	script = background.ReplaceAllString(script, "$0\nuntil fanin-collector status --out all.log; do sleep 0.05; done")
	script = strings.ReplaceAll(script, "6789", freePort(t))
	out, err := shell(t, dir, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "all*"))
	if err != nil || len(files) != 2 {
		t.Errorf("the log's files are %q (%v); want two, after one rotation", files, err)
	}
	var log []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, b...)
	}
	for text, want := range map[string]int{" 127.0.0.1 tcp: hello\n": 1, " 127.0.0.1 udp: hello again\n": 1, " numbers: 1\n": 1, " numbers: 100000\n": 1, " numbers: ": 100_000} {
		if n := bytes.Count(log, []byte(text)); n != want {
			t.Errorf("%d lines with %q; want %d\n%s", n, text, want, out)
		}
	}
	if !strings.Contains(out, ": ok: 100003 lines") { // the notice of the rotation included
		t.Errorf("verify does not say ok:\n%s", out)
	}
}

// What the README says of workers and watchers works, as it stands there.
func TestReadmeWork(t *testing.T) {
	for _, tool := range []string{"nc", "bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import msgpack").Run() != nil {
		t.Skip("python3-msgpack is not installed")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("examples")); err != nil {
		t.Fatal(err)
	}
	first, second := strings.Join(blocks(t, "README.md", "test work"), ""), strings.Join(blocks(t, "README.md", "test watch"), "")
	const begun = "--http 127.0.0.1:6790 &\n"
	script := strings.Replace(first, begun, begun+"until fanin-collector status --out all.log; do sleep 0.05; done\n", 1)
	script += "until [ -e audit.txt ] && [ $(cat mail.txt audit.txt | wc -l) = 10 ]; do sleep 0.05; done\n" + second
	script = strings.ReplaceAll(script, "python3 ", python+" ")
	for _, port := range []string{"6789", "6790", "6791"} {
		script = strings.ReplaceAll(script, port, freePort(t))
	}
	out, err := shell(t, dir, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for text, want := range map[string]int{"\ndata: 2": 5, " tcp: 3\n": 3, " tcp: 4\n": 2, "group mail at 1:": 1, "group audit at 1:": 1, "lag=0 lines": 2} {
		if n := strings.Count(out, text); n != want {
			t.Errorf("%d times %q in what is printed, want %d:\n%s", n, text, want, out)
		}
	}
}

// What the README says of NATS works, as it stands there.
func TestReadmeNATS(t *testing.T) {
	for _, tool := range []string{"nc", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir, bin := t.TempDir(), t.TempDir()
	server, err := rig.BuildNATS(bin)
	if err != nil {
		t.Fatal(err)
	}
	script := strings.Join(blocks(t, "README.md", "test nats"), "")
	// Who types waits for "listening"; a script must do so too.
	const begun = "fanin-collector --config nats.toml &\n"
	script = strings.Replace(script, begun, begun+"until fanin-collector status --config nats.toml && ! fanin-collector status --config nats.toml | grep TROUBLE; do sleep 0.05; done\n", 1)
	script = strings.Replace(script, "fanin-collector verify", "until grep -q hello all.log; do sleep 0.05; done\nfanin-collector verify", 1)
	script = strings.ReplaceAll(strings.ReplaceAll(script, "nats-server ", server+" "), "4222", freePort(t))
	out, err := shell(t, dir, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(dir, "all.log"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{" nats logs.web: hello\n": 1, " numbers: 1\n": 1, " numbers: 1000\n": 1, " numbers: ": 1000} {
		if n := bytes.Count(log, []byte(text)); n != want {
			t.Errorf("%d lines with %q; want %d\n%s", n, text, want, out)
		}
	}
	if !strings.Contains(out, ": ok: 1001 lines") {
		t.Errorf("verify does not say ok:\n%s", out)
	}
}

// What the README says of Redis and ZeroMQ works, as it stands there.
func TestReadmeRedis(t *testing.T) {
	for _, tool := range []string{"redis-server", "redis-cli", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: make setup", tool)
		}
	}
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import zmq").Run() != nil {
		t.Skip("python3-zmq is not installed: make setup")
	}
	script := strings.Join(blocks(t, "README.md", "test redis"), "")
	// Who types waits for the server, and looks whether the lines are there.
	const begun = "--save '' &\n"
	script = strings.Replace(script, begun, begun+"until redis-cli -p 6379 ping; do sleep 0.05; done\n", 1)
	script = strings.Replace(script, "fanin-collector verify", "until grep -q 'logs: hello$' all.log && grep -q 'zmq: hello again$' all.log; do sleep 0.05; done\nfanin-collector verify", 1)
	script = strings.ReplaceAll(script, "python3 ", python+" ")
	for _, port := range []string{"6379", "5557"} {
		script = strings.ReplaceAll(script, port, freePort(t))
	}
	out, err := shell(t, t.TempDir(), script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, ": ok: 2 lines") {
		t.Errorf("verify does not say ok:\n%s", out)
	}
}

// What the README says of syslog and GELF works, as it stands there.
func TestReadmeSyslog(t *testing.T) {
	for _, tool := range []string{"logger", "nc", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	script := strings.Join(append(blocks(t, "README.md", "test syslog"), blocks(t, "docs/clients.md", "test clients")...), "")
	// Who types waits for "listening", and looks whether the lines are there.
	for begun, wait := range map[string]string{
		"fanin-collector --config syslog.toml &\n": "until fanin-collector status --config syslog.toml; do sleep 0.05; done\n",
		"127.0.0.1 12201\n":                        "until [ \"$(grep -c 'disk full$' all.log)\" = 3 ]; do sleep 0.05; done\n",
	} {
		script = strings.Replace(script, begun, begun+wait, 1)
	}
	for _, port := range []string{"5514", "2514", "12201"} {
		script = strings.ReplaceAll(script, port, freePort(t))
	}
	dir := t.TempDir()
	out, err := shell(t, dir, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(dir, "all.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{" web-1 backup[4711]: ", " 127.0.0.1 backup: ", " gelf: host=web-2 disk full\n"} {
		if n := bytes.Count(log, []byte(text)); n != 1 {
			t.Errorf("%d lines with %q; want 1\n%s", n, text, log)
		}
	}
	for text, want := range map[string]int{": ok: 3 lines": 1, "host=router-1 %SYS-5-CONFIG_I: Configured from console\n": 2} {
		if n := strings.Count(out, text); n != want {
			t.Errorf("%d times %q in what is printed, want %d:\n%s", n, text, want, out)
		}
	}
}

// What the README says of an agent's sources works, as it stands there.
func TestReadmeAgent(t *testing.T) {
	for _, tool := range []string{"logger", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	script := strings.Join(blocks(t, "README.md", "test agent"), "")
	// Who types waits for both programs, and looks whether the lines are there.
	for begun, wait := range map[string]string{
		"--listen 127.0.0.1:6789 &\n":         "until fanin-collector status --out all.log; do sleep 0.05; done\n",
		"fanin-agent --config agent.toml &\n": "until [ -S log.sock ]; do sleep 0.05; done\n",
		"-t backup 'done'\n":                  "until grep -q 'half a line' all.log && grep -q ': done' all.log; do sleep 0.05; done\n",
	} {
		script = strings.Replace(script, begun, begun+wait, 1)
	}
	script = strings.ReplaceAll(script, "6789", freePort(t))
	dir := t.TempDir()
	out, err := shell(t, dir, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(dir, "all.log"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{" stdin: ": 1000, "shop/web-0/nginx: half a line\n": 1, " backup[": 1} {
		if n := bytes.Count(log, []byte(text)); n != want {
			t.Errorf("%d lines with %q; want %d\n%s", n, text, want, log[max(0, len(log)-2000):])
		}
	}
	if !strings.Contains(out, ": ok: 1002 lines") {
		t.Errorf("verify does not say ok:\n%s", out)
	}
}

// The documents' configuration files are right, each for its program.
func TestDocumentsConfigurations(t *testing.T) {
	block := regexp.MustCompile("(?s)```toml\n(.*?)```")
	found := 0
	for _, document := range []string{"README.md", "docs/access.md", "docs/certificates.md", "docs/nats.md", "docs/patterns.md", "docs/redis.md", "docs/sockets.md"} {
		b, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(b), -1) {
			found++
			text, program := m[1], "fanin-collector"
			switch {
			case strings.Contains(text, "[agent]"):
				program = "fanin-agent"
				if !strings.Contains(text, "[[agent.file]]") {
					text += "[[agent.file]]\npaths = [\"x\"]\n"
				}
			case !strings.Contains(text, "[collector.log]"):
				text += "[collector.log]\npath = \"x\"\n"
			}
			path := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(filepath.Join(programDir(t), program), "check", "--no-environment", "--config", path).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", document, err, out)
			}
		}
	}
	if found < 4 {
		t.Errorf("found %d configurations in the documents", found)
	}
}

// Links between the documents lead somewhere.
func TestDocumentsLinks(t *testing.T) {
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob("docs/*.md")
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, document := range append(documents, more...) {
		b, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), m[1])); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}
