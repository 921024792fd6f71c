// Package systemd_test holds the units to what they promise.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// units are both services, with the exposure that each may have, times ten.
var units = map[string]string{
	"fanin-collector.service": "15",
	"fanin-agent.service":     "20",
}

// analyze runs systemd-analyze, or skips the test where there is none.
func analyze(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil || args[0] == "verify" && len(out) > 0 {
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// stage copies a unit to where its program exists, with drop-ins if any.
func stage(t *testing.T, unit string, dropIns ...string) string {
	t.Helper()
	b, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // any program: verify asks only whether it can be run
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAllString(string(b), "ExecStart="+self)
	dir := t.TempDir()
	write(t, filepath.Join(dir, unit), text)
	for _, from := range dropIns {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, unit+".d", strings.TrimSuffix(filepath.Base(from), ".example")), string(b))
	}
	return filepath.Join(dir, unit)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUnitsVerify(t *testing.T) {
	for unit := range units {
		t.Run(unit, func(t *testing.T) { analyze(t, "verify", "--man=no", stage(t, unit)) })
	}
}

func TestUnitsExposure(t *testing.T) {
	for unit, most := range units {
		t.Run(unit, func(t *testing.T) {
			analyze(t, "security", "--offline=yes", "--no-pager", "--threshold="+most, stage(t, unit))
		})
	}
}

// The drop-ins are examples, and examples must work.
func TestDropIns(t *testing.T) {
	for unit, most := range units {
		examples, err := filepath.Glob(unit + ".d/*.conf.example")
		if err != nil || len(examples) == 0 {
			t.Fatalf("%s has no drop-in example: %v", unit, err)
		}
		for _, example := range examples {
			t.Run(filepath.Base(example), func(t *testing.T) {
				staged := stage(t, unit, example)
				analyze(t, "verify", "--man=no", staged)
				analyze(t, "security", "--offline=yes", "--no-pager", "--threshold="+most, staged)
			})
		}
	}
}

// The socket's example is one, and names the service that it is for.
func TestSocketExample(t *testing.T) {
	const example = "fanin-collector-syslog.socket.example"
	b, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(stage(t, "fanin-collector.service")), strings.TrimSuffix(example, ".example"))
	write(t, path, string(b))
	analyze(t, "verify", "--man=no", path)
	if !strings.Contains(string(b), "\nService=fanin-collector.service\n") || !strings.Contains(string(b), "\nFileDescriptorName=syslog\n") {
		t.Error("the socket is of another service, or has another name than docs/listeners.md says")
	}
}

// A command may run before the first start of a service: tmpfiles makes the same directories.
func TestTmpfiles(t *testing.T) {
	directory := regexp.MustCompile(`(?m)^(State|Logs|Runtime)Directory(Mode)?=(.*)$`)
	for unit := range units {
		b, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		above := map[string]string{"State": "/var/lib/", "Logs": "/var/log/", "Runtime": "/run/"}
		paths, modes := make(map[string]string), make(map[string]string)
		for _, m := range directory.FindAllStringSubmatch(string(b), -1) {
			if m[2] == "" {
				paths[m[1]] = above[m[1]] + m[3]
			} else {
				modes[m[1]] = m[3]
			}
		}
		var want []string
		for kind, path := range paths {
			want = append(want, "d "+path+" "+modes[kind]+" fanin adm -")
		}
		b, err = os.ReadFile(strings.TrimSuffix(unit, ".service") + ".tmpfiles")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range strings.Split(string(b), "\n") {
			if line != "" && !strings.HasPrefix(line, "#") {
				got = append(got, strings.Join(strings.Fields(line), " "))
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if len(want) < 2 || !slices.Equal(got, want) {
			t.Errorf("%s makes %q; tmpfiles makes %q", unit, want, got)
		}
	}
}

// What keeps lines safe must not fall to a later tightening.
func TestUnitsKeepWhatTheProgramsNeed(t *testing.T) {
	for _, f := range []struct{ unit, want, unwanted, why string }{
		{"fanin-collector.service", "StartLimitIntervalSec=0", "", "a full disk lasts longer than any start limit"},
		{"fanin-collector.service", "Restart=always", "", "a failed sync ends the process on purpose"},
		{"fanin-collector.service", "SystemCallFilter=@chown", "", "rotation gives the new file the owner of the old one"},
		{"fanin-collector.service", "", "ProcSubset=pid", "the boot id is read from /proc/sys"},
		{"fanin-collector.service", "", "DynamicUser=yes", "its logs directory would be closed to readers"},
		{"fanin-collector.service", "UMask=0027", "", "group adm reads the log"},
		{"fanin-collector.service", "Type=notify\n", "", "READY only when lines are taken"},
		{"fanin-agent.service", "StartLimitIntervalSec=0", "", "an agent that gives up stops a host's log"},
		{"fanin-agent.service", "Restart=always", "", "an agent that gives up stops a host's log"},
		{"fanin-agent.service", "SupplementaryGroups=systemd-journal", "", "the journal is that group's"},
		{"fanin-agent.service", "", "PrivateUsers=yes", "files of other users are then those of the user nobody"},
	} {
		b, err := os.ReadFile(f.unit)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "\n"+f.want) {
			t.Errorf("%s: %s is missing: %s", f.unit, f.want, f.why)
		}
		if f.unwanted != "" && strings.Contains(string(b), "\n"+f.unwanted) {
			t.Errorf("%s: %s: %s", f.unit, f.unwanted, f.why)
		}
	}
}

func TestSysusers(t *testing.T) {
	path, err := exec.LookPath("systemd-sysusers")
	if err != nil {
		t.Skip("systemd-sysusers is not installed")
	}
	root := t.TempDir()
	b, err := os.ReadFile("fanin.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "usr/lib/sysusers.d/fanin.conf"), string(b))
	write(t, filepath.Join(root, "etc/group"), "")
	out, err := exec.Command(path, "--root="+root, "fanin.conf").CombinedOutput()
	if err != nil && os.Getuid() != 0 {
		t.Skipf("systemd-sysusers needs root: %s", out)
	}
	passwd, _ := os.ReadFile(filepath.Join(root, "etc/passwd"))
	group, _ := os.ReadFile(filepath.Join(root, "etc/group"))
	if err != nil || !strings.Contains(string(passwd), "fanin:") || !regexp.MustCompile(`(?m)^adm:.*:fanin$`).Match(group) {
		t.Errorf("systemd-sysusers: %v\n%s\npasswd: %sgroup: %s", err, out, passwd, group)
	}
}
