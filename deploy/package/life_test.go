package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fanin/deploy/build"
	"fanin/internal/waittest"
)

// previous is the version before the one of the other packages.
const previous = "0.0.9"

// older builds the packages of the version before, whose configurations have one more comment.
func older(t *testing.T, format string) map[string]string {
	t.Helper()
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	tmp, paths := t.TempDir(), make(map[string]string)
	s := &settings{version: previous, maintainer: "The fanin maintainers <fanin@example.net>"}
	for _, p := range products() {
		_, data := deb(t, newer(t, "deb")[p.name]) // it has the same program
		program := filepath.Join(tmp, p.name)
		if err := os.WriteFile(program, data["/usr/bin/"+p.name].data, 0o755); err != nil {
			t.Fatal(err)
		}
		j := job{p, s, root, tmp, program, arch(t), build.Made(root)}
		contents, err := j.contents(format)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range contents {
			if f.config {
				contents[i].data = append([]byte("# As in the version before.\n"), f.data...)
			}
		}
		if paths[p.name], err = j.packed(format, tmp, contents); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// arch is this machine's architecture.
func arch(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOARCH").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// newer are the packages of this machine's architecture.
func newer(t *testing.T, format string) map[string]string {
	t.Helper()
	paths := make(map[string]string)
	word := map[string]string{"amd64": "amd64", "arm64": "arm64"}[arch(t)]
	if format == "rpm" {
		word = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch(t)]
	}
	for _, path := range built(t, format) {
		for _, p := range products() {
			if base := filepath.Base(path); strings.HasPrefix(base, p.name) && strings.Contains(base, word) {
				paths[p.name] = path
			}
		}
	}
	if len(paths) != len(products()) {
		t.Skipf("there are no packages for %s", arch(t))
	}
	return paths
}

// deliver adds lines to a log of the host, and waits until all of them are in the collector's file.
func (h *host) deliver(from, to int) {
	h.Helper()
	path := filepath.Join(h.root, "var/log/app.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		h.Fatal(err)
	}
	defer f.Close()
	for n := from; n <= to; n++ {
		if _, err := fmt.Fprintf(f, "line %d of the host\n", n); err != nil {
			h.Fatal(err)
		}
	}
	waittest.UntilEqual(h, "lines in the log", to, func() int { return strings.Count(h.read("/var/log/fanin/all.log"), " of the host\n") })
}

// once fails the test unless the log has each line up to n once.
func (h *host) once(n int) {
	h.Helper()
	log := h.read("/var/log/fanin/all.log")
	for i := 1; i <= n; i++ {
		if got := strings.Count(log, fmt.Sprintf(" app: line %d of the host\n", i)); got != 1 {
			h.Errorf("line %d is in the log %d times", i, got)
		}
	}
}

// serve runs both programs as their services do, while lines are delivered.
func (h *host) serve(from, to int) {
	h.Helper()
	collector := h.start("fanin-collector", "/etc/fanin/collector.toml")
	agent := h.start("fanin-agent", "/etc/fanin/agent.toml")
	h.deliver(from, to)
	found := h.listeners()
	for _, l := range found {
		if _, addr, _ := strings.Cut(l, " "); !strings.HasPrefix(addr, "0100007F:") && !strings.HasPrefix(addr, "00000000000000000000000001000000:") {
			h.Errorf("after an installation, %s can be reached from elsewhere", l)
		}
	}
	if len(found) == 0 {
		h.Error("nothing listens: is the test right?")
	}
	h.stop(agent)
	h.stop(collector)
}

// installed looks at what an installation leaves.
func (h *host) installed() {
	h.Helper()
	if calls := h.calls(); strings.Contains(calls, "start") || strings.Contains(calls, "enable") || !strings.Contains(calls, "daemon-reload") {
		h.Errorf("the installation asked the service manager for %q", calls)
	}
	if found := h.listeners(); len(found) > 0 {
		h.Errorf("the installation started what listens at %q", found)
	}
	if links, _ := filepath.Glob(filepath.Join(h.root, "etc/systemd/system/*.wants/fanin*")); len(links) > 0 {
		h.Errorf("the installation enabled %q", links)
	}
	const want = "750 fanin adm /var/lib/fanin\n750 fanin adm /var/log/fanin\n750 fanin adm /var/lib/fanin-agent\n755 fanin adm /run/fanin\n644 root root /etc/fanin/collector.toml\n"
	if got := h.run("stat", "-c", "%a %U %G %n", "/var/lib/fanin", "/var/log/fanin", "/var/lib/fanin-agent", "/run/fanin", "/etc/fanin/collector.toml"); got != want {
		h.Errorf("directories are\n%swant\n%s", got, want)
	}
	for _, name := range []string{"fanin-collector", "fanin-agent"} {
		if out := h.run(name, "--version"); !strings.HasPrefix(out, name+" ") {
			h.Errorf("%s --version prints %q", name, out)
		}
	}
}

// keeps fails the test unless state, log and the changed configuration are as they were.
func (h *host) keeps(when, config string) {
	h.Helper()
	if h.read("/etc/fanin/collector.toml") != config {
		h.Errorf("%s changed the configuration to\n%s", when, h.read("/etc/fanin/collector.toml"))
	}
	h.once(200)
	for _, path := range []string{"/var/lib/fanin", "/var/lib/fanin-agent"} {
		if entries, err := os.ReadDir(filepath.Join(h.root, path)); err != nil || len(entries) == 0 {
			h.Errorf("%s left nothing in %s: %v", when, path, err)
		}
	}
}

// TestDebian: packages are installed, upgraded, removed and purged, and keep what they must.
func TestDebian(t *testing.T) {
	h := newHost(t)
	dpkg := func(option string, packages map[string]string) string {
		t.Helper()
		args := []string{"dpkg", "--force-confdef", "--force-confold", option}
		for name, path := range packages {
			if option == "--install" {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				name = "/" + filepath.Base(path)
				h.write(name, string(b), 0o644)
			}
			args = append(args, name)
		}
		return h.run(args...)
	}
	old, now := older(t, "deb"), newer(t, "deb")
	dpkg("--install", old)
	h.installed()
	h.serve(1, 100)

	config := strings.Replace(h.read("/etc/fanin/collector.toml"), "[collector.log]\n", "[collector.log]\nkeep_bytes = \"1GiB\" # mine\n", 1)
	h.write("/etc/fanin/collector.toml", config, 0o644)
	dpkg("--install", now)
	if calls := h.calls(); !strings.Contains(calls, "restart fanin-collector.service") || !strings.Contains(calls, "restart fanin-agent.service") {
		t.Errorf("the upgrade asked the service manager for %q", calls)
	}
	h.serve(101, 200)
	h.keeps("the upgrade", config)
	if strings.Contains(h.read("/etc/fanin/agent.toml"), "version before") {
		t.Error("the upgrade did not replace a configuration that was not changed")
	}
	if out := h.run("fanin-collector", "verify", "--config", "/etc/fanin/collector.toml"); !strings.Contains(out, ": ok:") {
		t.Errorf("verify: %s", out)
	}

	// A configuration that the new version refuses stops no service.
	h.write("/etc/fanin/agent.toml", "[agent]\nunknown = 1\n", 0o644)
	out := dpkg("--install", now)
	if calls := h.calls(); !strings.Contains(calls, "restart fanin-collector") || strings.Contains(calls, "restart fanin-agent") || !strings.Contains(out, "not restarted") {
		t.Errorf("with a wrong configuration, the service manager is asked for %q\n%s", calls, out)
	}

	dpkg("--remove", now)
	if calls := h.calls(); !strings.Contains(calls, "stop fanin-collector.service") || !strings.Contains(calls, "stop fanin-agent.service") {
		t.Errorf("the removal asked the service manager for %q", calls)
	}
	h.keeps("the removal", config)
	if h.exists("/usr/bin/fanin-collector") || h.exists("/usr/lib/systemd/system/fanin-agent.service") {
		t.Error("the removal left programs or units")
	}
	h.write("/etc/fanin/ours.txt", "of the administrator", 0o600)
	dpkg("--purge", now)
	for _, path := range []string{"/etc/fanin/collector.toml", "/etc/fanin/agent.toml", "/var/lib/fanin", "/var/lib/fanin-agent", "/var/log/fanin"} {
		if h.exists(path) {
			t.Errorf("the purge left %s", path)
		}
	}
	if !h.exists("/etc/fanin/ours.txt") || !strings.Contains(h.read("/etc/passwd"), "fanin:") {
		t.Error("the purge removed a file of the administrator, or the user")
	}
}

// TestRPM: the same with rpm, which keeps what was changed, and has no purge.
func TestRPM(t *testing.T) {
	rpm := tool(t, "rpm")
	h := newHost(t)
	run := func(option string, packages map[string]string) {
		t.Helper()
		args := []string{rpm, "--root", h.root, "--nodeps", option}
		for name, path := range packages {
			if option != "--erase" {
				name = path
			}
			args = append(args, name)
		}
		if out, err := h.inside(args...).CombinedOutput(); err != nil || strings.Contains(string(out), "scriptlet failed") {
			t.Fatalf("rpm %s: %v\n%s", option, err, out)
		}
	}
	old, now := older(t, "rpm"), newer(t, "rpm")
	run("--install", old)
	h.installed()
	h.serve(1, 100)
	config := strings.Replace(h.read("/etc/fanin/collector.toml"), "[collector.log]\n", "[collector.log]\nkeep_bytes = \"1GiB\" # mine\n", 1)
	h.write("/etc/fanin/collector.toml", config, 0o644)
	run("--upgrade", now)
	if calls := h.calls(); !strings.Contains(calls, "try-restart fanin-collector.service") || strings.Contains(calls, "disable") {
		t.Errorf("the upgrade asked the service manager for %q", calls)
	}
	h.serve(101, 200)
	h.keeps("the upgrade", config)
	run("--erase", now)
	if calls := h.calls(); !strings.Contains(calls, "disable --now fanin-collector.service") {
		t.Errorf("the removal asked the service manager for %q", calls)
	}
	if got := h.read("/etc/fanin/collector.toml.rpmsave"); got != config {
		t.Errorf("the removal kept the configuration as %q", got)
	}
	h.once(200)
	if h.exists("/usr/bin/fanin-collector") || !h.exists("/var/lib/fanin-agent") {
		t.Error("the removal left programs, or removed state")
	}
}
