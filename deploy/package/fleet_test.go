package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanin/deploy/build"
	"fanin/internal/waittest"
)

// manager is a service manager of a few lines: it starts a service as its unit does, and notes which.
const manager = `#!/bin/sh
echo "systemctl $*" >>/calls
for last; do :; done
name=${last%.service}
case "$*" in
"is-active "*) kill -0 "$(cat "/run/$name.pid" 2>/dev/null)" 2>/dev/null || exit 3 ;;
"enable --now "* | "restart "* | "reload "*)
	if [ -e "/run/$name.pid" ]; then
		kill "$(cat "/run/$name.pid")"
		while kill -0 "$(cat "/run/$name.pid")" 2>/dev/null; do sleep 0.05; done
	fi
	STATE_DIRECTORY=/var/lib/$name setsid setpriv --reuid=fanin --regid=adm --groups=adm -- \
		"/usr/bin/$name" --config "/etc/fanin/${name#fanin-}.toml" >"/run/$name.out" 2>&1 &
	echo $! >"/run/$name.pid"
	;;
esac
`

// managed gives the host that service manager, and ends the services with the test.
func (h *host) managed(names ...string) {
	h.Helper()
	h.write("/usr/bin/systemctl", manager, 0o755)
	h.Cleanup(func() {
		for _, name := range names {
			pid, err := strconv.Atoi(strings.TrimSpace(h.read("/run/" + name + ".pid")))
			if err == nil && pid > 1 {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			if h.Failed() {
				h.Logf("%s:\n%s\n%s", name, h.read("/run/"+name+".out"), h.calls())
			}
		}
	})
}

// wire connects two hosts: one has the address 192.0.2.1, the other one 192.0.2.2.
func wire(t *testing.T, one, two *host) {
	t.Helper()
	ip := tool(t, "ip")
	for _, c := range []struct {
		h    *host
		args string
	}{
		{one, fmt.Sprintf("link add wire type veth peer name wire netns %d", two.pid)},
		{one, "address add 192.0.2.1/24 dev wire"}, {two, "address add 192.0.2.2/24 dev wire"},
		{one, "link set wire up"}, {two, "link set wire up"},
	} {
		if out, err := c.h.inside(append([]string{ip}, strings.Fields(c.args)...)...).CombinedOutput(); err != nil {
			t.Skipf("two hosts cannot be connected here: ip %s: %v\n%s", c.args, err, out)
		}
	}
}

// shown are the commands that a document shows in its first blocks for a shell.
func shown(t *testing.T, document string, blocks int) []string {
	t.Helper()
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(b), blocks) {
		commands = append(commands, strings.Split(strings.TrimSpace(m[1]), "\n")...)
	}
	return commands
}

// TestFourCommands: on two hosts with packages, the four commands of README.md bring the
// lines of one into the file of the other, over mutual TLS.
func TestFourCommands(t *testing.T) {
	collector, web := newHost(t), newHost(t)
	wire(t, collector, web)
	now := newer(t, "deb")
	for h, name := range map[*host]string{collector: "fanin-collector", web: "fanin-agent"} {
		h.managed(name)
		h.write("/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 collector.example\n", 0o644)
		b, err := os.ReadFile(now[name])
		if err != nil {
			t.Fatal(err)
		}
		h.write("/package.deb", string(b), 0o644)
		h.run("dpkg", "--install", "/package.deb")
	}
	web.write("/var/log/app.log", "line 1 of the host\n", 0o644)
	commands := shown(t, "README.md", 2)
	if also := shown(t, "docs/certificates.md", 2); len(commands) != 4 || !slices.Equal(commands, also) {
		t.Fatalf("the commands are %q in README.md, and %q in docs/certificates.md", commands, also)
	}
	begun, token := time.Now(), ""
	for i, command := range commands {
		h := collector
		if i > 1 {
			h = web
		}
		out, _ := h.outputs(strings.Fields(strings.ReplaceAll(command, "TOKEN", token))...)
		if i == 1 {
			token = strings.TrimSpace(out)
		}
	}
	waittest.UntilEqual(t, "the line in the collector's file", 1, func() int {
		return strings.Count(collector.read("/var/log/fanin/all.log"), " web-1 app: line 1 of the host\n")
	})
	t.Logf("%v for four commands and the first line", time.Since(begun).Round(10*time.Millisecond))
	for _, l := range collector.listeners() {
		if !strings.Contains(l, "0100007F:") && !strings.Contains(l, "00000000000000000000000001000000:") && !strings.HasSuffix(l, ":1A89") {
			t.Errorf("the collector can be reached at %s, too", l)
		}
	}
}
