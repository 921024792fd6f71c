package fanin_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fanin/e2e/rig"
)

// pattern is a program in docs/patterns.md, and where its effect is seen.
type pattern struct {
	name, language, text string
}

// wanted is what a pattern prints, as an expression, or the line that comes into the
// log.
func wanted(name string) (prints, logs string) {
	switch name {
	case "push-tcp":
		return "", " 127.0.0.1 tcp: pushed over TCP\n"
	case "push-redis-stream":
		return "", " redis logs: pushed over a Redis stream\n"
	case "push-redis-list":
		return "", " redis queue: pushed over a Redis list\n"
	case "push-zmq":
		return "", " 127.0.0.1 zmq: pushed over ZeroMQ\n"
	case "push-nats":
		return "", " nats logs.web: pushed over NATS\n"
	case "publish-redis":
		return "", " redis logs.web: published on a Redis channel\n"
	case "publish-zmq":
		return "", " 127.0.0.1 web/app: published over ZeroMQ\n"
	case "pull-command", "pull-zmq", "pull-nats": // any line of the log
		return `^2\S+Z \S+ \S+: .+$`, ""
	case "pull-redis":
		return `^\d+-\d+ \S+ \S+ .+$`, ""
	case "subscribe-http":
		return `^2\S+Z 127\.0\.0\.1 tcp: tick \d+$`, ""
	case "subscribe-redis":
		return `^fanin\.tcp 2\S+Z 127\.0\.0\.1 tcp: tick \d+$`, ""
	case "subscribe-zmq":
		return `^127\.0\.0\.1/tcp 2\S+Z 127\.0\.0\.1 tcp: tick \d+$`, ""
	case "subscribe-nats":
		return `^fanin\.tail\.127_0_0_1\.tcp 2\S+Z 127\.0\.0\.1 tcp: tick \d+$`, ""
	case "request-command":
		return `"generation": 1`, ""
	case "request-http", "request-zmq", "request-nats":
		return `^generation 1$`, ""
	}
	return "", ""
}

// Every program in docs/patterns.md does what it says, against the collector that the
// page configures and real servers.
func TestPatterns(t *testing.T) {
	const python = "/usr/bin/python3"
	for _, tool := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: make setup", tool)
		}
	}
	if err := exec.Command(python, "-c", "import redis, zmq").Run(); err != nil {
		t.Skip("python3-redis or python3-zmq is not installed: make setup")
	}
	b, err := os.ReadFile("docs/patterns.md")
	if err != nil {
		t.Fatal(err)
	}
	page, dir := string(b), t.TempDir()
	for _, port := range []string{"6789", "6790", "6791", "4222", "6379", "5556", "5557", "5558", "5559", "5560"} {
		page = strings.ReplaceAll(page, port, freePort(t))
	}
	patterns, address := patternsOf(page), startPatterns(t, dir, page)
	if len(patterns) < 15 {
		t.Fatalf("the page has %d programs", len(patterns))
	}
	go tick(t, address) // ends with the test
	redisPort := regexp.MustCompile(`redis://127\.0\.0\.1:(\d+)`).FindStringSubmatch(page)[1]
	for _, p := range patterns {
		t.Run(p.name, func(t *testing.T) {
			text := strings.ReplaceAll(p.text, "redis.Redis()", "redis.Redis(port="+redisPort+")")
			text = strings.ReplaceAll(text, "redis-cli ", "redis-cli -p "+redisPort+" ")
			text = strings.ReplaceAll(text, "fanin-collector work", "timeout --foreground --preserve-status -s INT 2 fanin-collector work") // else it goes on
			if p.language == "python" {
				text = fmt.Sprintf("cat > program.py <<'END'\n%s\nEND\n%s program.py", text, python)
			}
			out, err := shell(t, dir, text)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			prints, logs := wanted(p.name)
			if prints == "" && logs == "" {
				t.Fatalf("what is expected of %s?", p.name)
			}
			if !regexp.MustCompile("(?m)" + prints).MatchString(out) {
				t.Errorf("prints %q; want %s", out, prints)
			}
			if logs != "" {
				awaitLine(t, filepath.Join(dir, "all.log"), logs)
			}
		})
	}
}

// patternsOf are the programs of the page.
func patternsOf(page string) (list []pattern) {
	block := regexp.MustCompile("(?s)<!-- pattern (\\S+) -->\n```(python|sh)\n(.*?)```")
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		list = append(list, pattern{m[1], m[2], m[3]})
	}
	return list
}

// startPatterns starts the servers, and the collector with the page's configuration.
// It returns the address that takes lines.
func startPatterns(t *testing.T, dir, page string) (address string) {
	t.Helper()
	config := regexp.MustCompile("(?s)```toml\n(.*?)```").FindStringSubmatch(page)[1]
	find := func(pattern string) string { return regexp.MustCompile(pattern).FindStringSubmatch(config)[1] }
	nats, err := rig.BuildNATS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	start(t, exec.Command(nats, "-a", "127.0.0.1", "-p", find(`nats://127\.0\.0\.1:(\d+)`), "-js", "-sd", filepath.Join(dir, "nats"))).
		wait("Server is ready")
	start(t, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", find(`redis://127\.0\.0\.1:(\d+)`), "--save", "", "--logfile", "/dev/stderr")).
		wait("Ready to accept connections")
	if err := os.WriteFile(filepath.Join(dir, "collector.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(filepath.Join(programDir(t), "fanin-collector"), "--config", "collector.toml")
	c.Dir = dir
	start(t, c).wait("receiving from Redis.*channels")
	return find(`listen = "(127\.0\.0\.1:\d+)"`)
}

// tick sends lines all the time, for those that wait for one.
func tick(t *testing.T, address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	for i := 0; ; i++ {
		select {
		case <-t.Context().Done():
			return
		case <-time.After(20 * time.Millisecond):
			fmt.Fprintf(conn, "tick %d\n", i)
		}
	}
}
