package collector

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// TestRedisPermissions: the rules of the ACL in docs/redis.md are enough, each for its table.
func TestRedisPermissions(t *testing.T) {
	b, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("PASSWORD"), 0o600); err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^\| ([^|]*) \| .fanin (on [^|]*). \|$`).FindAllStringSubmatch(string(b), -1)
	settings := []string{"user default on nopass ~* &* +@all"}
	for i, r := range rules {
		settings = append(settings, fmt.Sprintf("user user%d %s", i, r[2]))
	}
	s := redistest.New(t, settings...)
	received := func(input string, parts ...string) func(*server) {
		return func(c *server) {
			s.Do(parts...)
			waittest.UntilEqual(t, "lines of "+input, 1, func() uint64 { return c.inputs.Of(input).Counts().Written })
		}
	}
	went := func(text string, parts ...string) func(*server) {
		return func(c *server) {
			c.send(t, "hello")
			waittest.Until(t, text, func() bool { return strings.Contains(s.Do(parts...), text) })
		}
	}
	uses := map[string]struct {
		table string
		use   func(*server)
	}{
		"`channels`":            {"channels = [\"logs.*\", \"logs.web\"]", received("redis", "PUBLISH", "logs.web", "hello")},
		"`streams`":             {"streams = [\"logs\"]", received("redis-stream", "XADD", "logs", "*", "message", "hello")},
		"with `group`":          {"streams = [\"logs\"]\ngroup = \"g\"", received("redis-stream", "XADD", "logs", "*", "message", "hello")},
		"`lists`":               {"lists = [\"queue\"]", received("redis-list", "RPUSH", "queue", "hello")},
		"an output to a stream": {"[collector.redis.output]\nstream = \"fanin\"\nmax_len = 100", went("hello", "XRANGE", "fanin", "-", "+")},
		"to a list":             {"[collector.redis.output]\nlist = \"fanin\"\nmax_len = 100", went("hello", "LRANGE", "fanin", "0", "-1")},
		"to channels":           {"[collector.redis.output]\nchannel = \"fanin.{source}\"", went("cmdstat_publish:calls=1", "INFO", "commandstats")},
	}
	if len(rules) != len(uses) {
		t.Fatalf("the document has %d rules, want %d", len(rules), len(uses))
	}
	for i, r := range rules {
		t.Run(r[1], func(t *testing.T) {
			s.Do("FLUSHALL")
			s.Do("CONFIG", "RESETSTAT")
			s.Do("ACL", "LOG", "RESET")
			c, _ := configured(t, fmt.Sprintf("[[collector.redis]]\nurl = %q\nuser = \"user%d\"\npassword_file = %q\n%s\n", s.URL(), i, file, uses[r[1]].table))
			waittest.UntilEqual(t, "the trouble", "", func() string {
				st, err := c.status(t.Context())
				if err != nil || len(st.Redis) != 1 {
					t.Fatalf("%d servers, %v", len(st.Redis), err)
				}
				return st.Redis[0].Trouble
			})
			uses[r[1]].use(c)
			for _, line := range regexp.MustCompile(`(?m)^object\n(.*)$`).FindAllStringSubmatch(s.Do("ACL", "LOG"), -1) {
				if line[1] != "client|setname" {
					t.Errorf("the server forbids %s", line[1])
				}
			}
		})
	}
}
