package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// machine describes what this runs on, without naming it.
func machine(dir string) string {
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	meminfo, _ := os.ReadFile("/proc/meminfo")
	kib, _ := strconv.Atoi(strings.TrimSuffix(field(string(meminfo), "MemTotal"), " kB"))
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	release, _ := os.ReadFile("/etc/os-release")
	return fmt.Sprintf("Machine: %d processors (%s), %d GiB of memory, %s; Linux %s, %s; %s.\nfanin %s; rsyslog %s and syslog-ng %s of Debian.\n",
		runtime.NumCPU(), field(string(cpuinfo), "model name"), (kib+1<<19)>>20, fileSystem(dir),
		strings.SplitN(strings.TrimSpace(string(kernel)), "-", 2)[0], unquote(string(release), "PRETTY_NAME="), runtime.Version(),
		revision(), version("rsyslog"), version("syslog-ng-core"))
}

// field is what a line "name : value" says.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func unquote(text, prefix string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, prefix); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return "unknown system"
}

func fileSystem(dir string) string {
	out, err := exec.Command("findmnt", "-n", "-o", "FSTYPE", "-T", dir).Output()
	if err != nil {
		return "unknown file system"
	}
	return strings.TrimSpace(string(out))
}

func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--tags").Output()
	if err != nil {
		return "as built"
	}
	return strings.TrimSpace(string(out))
}

// version is that of an unpacked package, as its file's name has it.
func version(name string) string {
	list, _ := filepath.Glob(filepath.Join(peersDir(), "debs", name+"_*.deb"))
	if len(list) == 0 {
		return "(not measured)"
	}
	return strings.Split(filepath.Base(list[0]), "_")[1]
}
