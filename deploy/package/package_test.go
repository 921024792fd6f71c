package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"fanin/deploy/build"
	"fanin/internal/daemon"
)

// release is the version of the packages that the tests build.
const release = daemon.Release

// packages builds all packages once, and returns the directory with them.
var packages = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("fanin-packages-test-%d", os.Getpid()))
	s := settings{release, "The fanin maintainers <fanin@example.net>", formats(), build.Architectures()}
	return dir, s.write(dir)
})

func TestMain(m *testing.M) {
	if program := os.Getenv(isolated); program != "" {
		isolate(program)
	}
	tmp := os.TempDir()
	code := m.Run()
	os.RemoveAll(filepath.Join(tmp, fmt.Sprintf("fanin-packages-test-%d", os.Getpid())))
	os.Exit(code)
}

// built returns the packages of a format, in the order of their names.
func built(t *testing.T, format string) []string {
	t.Helper()
	dir, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*."+format))
	if err != nil || len(paths) != len(products())*len(build.Architectures()) {
		t.Fatalf("the packages are %q, %v", paths, err)
	}
	return paths
}

// tool is the path of a program, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed: make setup")
	}
	return path
}

// TestReproducible: a second build, in another directory and at another time, gives the same bytes.
func TestReproducible(t *testing.T) {
	first, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	dir := t.TempDir()
	s := settings{release, "The fanin maintainers <fanin@example.net>", formats(), build.Architectures()[:1]}
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(paths) != len(products())*len(formats()) {
		t.Fatalf("the packages are %q, %v", paths, err)
	}
	for _, path := range paths {
		if digest(t, path) != digest(t, filepath.Join(first, filepath.Base(path))) {
			t.Errorf("%s differs from build to build", filepath.Base(path))
		}
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// entry is one file of an archive.
type entry struct {
	*tar.Header
	data []byte
}

// unpacked reads the entries of a tar.
func unpacked(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	entries := make(map[string]entry)
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		entries["/"+strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")] = entry{h, b}
	}
}

// deb reads the control and data archives of a deb: an ar of three members.
func deb(t *testing.T, path string) (control, data map[string]entry) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, found := bytes.CutPrefix(b, []byte("!<arch>\n"))
	if !found {
		t.Fatalf("%s is no ar", path)
	}
	members := make(map[string]map[string]entry)
	for len(b) > 60 {
		var size int
		fmt.Sscan(string(b[48:58]), &size)
		name := strings.TrimRight(string(b[:16]), " /")
		if member := b[60 : 60+size]; strings.HasSuffix(name, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(member))
			if err != nil {
				t.Fatal(err)
			}
			members[name] = unpacked(t, z)
		}
		b = b[min(60+size+size%2, len(b)):]
	}
	return members["control.tar.gz"], members["data.tar.gz"]
}

// apk reads the control and data archives of an apk: one gzip behind the other.
func apk(t *testing.T, path string) (control, data map[string]entry) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var parts []map[string]entry
	z, err := gzip.NewReader(in)
	for ; err == nil; err = z.Reset(in) {
		z.Multistream(false)
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, unpacked(t, bytes.NewReader(text)))
	}
	if !errors.Is(err, io.EOF) || len(parts) != 2 {
		t.Fatalf("%s has %d parts: %v", path, len(parts), err)
	}
	return parts[0], parts[1]
}

// TestContents: what is installed, for whom, and since when.
func TestContents(t *testing.T) {
	root, err := build.Root()
	if err != nil {
		t.Fatal(err)
	}
	made := build.Made(root)
	for format, read := range map[string]func(*testing.T, string) (control, data map[string]entry){"deb": deb, "apk": apk} {
		for _, path := range built(t, format) {
			name := filepath.Base(path)
			control, data := read(t, path)
			for _, list := range []map[string]entry{control, data} {
				for _, e := range list {
					if !e.ModTime.Equal(made) && e.Name != ".PKGINFO" || e.Uid != 0 || e.Gid != 0 || e.Mode&0o7022 != 0 {
						t.Errorf("%s: %s is of %d:%d, mode %o, %v", name, e.Name, e.Uid, e.Gid, e.Mode, e.ModTime)
					}
				}
			}
			for _, p := range products() {
				if !strings.HasPrefix(name, p.name+"_") {
					continue
				}
				for _, want := range []string{"/usr/bin/" + p.name, "/usr/lib/systemd/system/" + p.name + ".service",
					"/usr/lib/sysusers.d/" + p.name + ".conf", "/usr/lib/tmpfiles.d/" + p.name + ".conf", "/etc/fanin/" + p.config + ".toml",
					"/usr/share/man/man1/" + p.name + ".1.gz", "/usr/share/man/man1/" + p.name + "-check.1.gz",
					"/usr/share/bash-completion/completions/" + p.name, "/usr/share/fish/vendor_completions.d/" + p.name + ".fish",
					"/usr/share/doc/" + p.name + "/" + p.name + ".cdx.json", "/usr/share/doc/" + p.name + "/docs/install.md",
					"/usr/share/doc/" + p.name + "/monitoring/alerts.yml", "/usr/share/doc/" + p.name + "/monitoring/dashboard.json"} {
					if e, ok := data[want]; !ok || len(e.data) == 0 {
						t.Errorf("%s does not have %s", name, want)
					}
				}
				if format == "deb" {
					if got := string(control["/conffiles"].data); got != "/etc/fanin/"+p.config+".toml\n" {
						t.Errorf("%s: conffiles are %q", name, got)
					}
				}
				installs(t, name, data)
			}
		}
	}
}

// installs looks for files outside the directories of a package, and for links that enable a service.
func installs(t *testing.T, name string, data map[string]entry) {
	t.Helper()
	for path, e := range data {
		if e.Typeflag == tar.TypeDir {
			continue
		}
		if !strings.HasPrefix(path, "/usr/") && !strings.HasPrefix(path, "/etc/fanin/") && !strings.HasPrefix(path, "/etc/init.d/fanin-") ||
			strings.Contains(path, ".wants/") || strings.HasSuffix(path, ".preset") || e.Typeflag != tar.TypeReg {
			t.Errorf("%s installs %s", name, path)
		}
	}
}

// TestScripts: what a package manager runs has no mistake that a shell finds, and starts nothing.
func TestScripts(t *testing.T) {
	names, err := scripts.ReadDir("scripts")
	if err != nil || len(names) < 8 {
		t.Fatalf("%d scripts, %v", len(names), err)
	}
	for _, p := range products() {
		for _, n := range names {
			j := job{product: p}
			text, err := j.script(n.Name())
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("@package@")) || bytes.Contains(text, []byte("@config@")) || bytes.Contains(text, []byte("@state@")) {
				t.Errorf("%s has a name that was not filled in:\n%s", n.Name(), text)
			}
			if n.Name() == "lintian" {
				continue
			}
			c := exec.Command("sh", "-n")
			c.Stdin = bytes.NewReader(text)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", n.Name(), err, out)
			}
			for _, word := range []string{" enable", " start ", "rc-update"} {
				if n.Name() != "openrc" && bytes.Contains(text, []byte(word)) {
					t.Errorf("%s enables or starts something:\n%s", n.Name(), text)
				}
			}
		}
	}
}

// TestLintian: Debian's checker finds nothing but what is overridden, with a reason.
func TestLintian(t *testing.T) {
	args := append([]string{"--allow-root", "--fail-on", "error,warning", "--no-cfg"}, built(t, "deb")...)
	if out, err := exec.Command(tool(t, "lintian"), args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}

// TestRpmlint: the checker of rpm finds nothing but what is filtered, with a reason.
func TestRpmlint(t *testing.T) {
	args := append([]string{"--config", "rpmlint.toml", "--strict"}, built(t, "rpm")...)
	if out, err := exec.Command(tool(t, "rpmlint"), args...).CombinedOutput(); err != nil {
		t.Errorf("rpmlint: %v\n%s", err, out)
	}
}

// TestManual: both readers of manuals find the pages well formed.
func TestManual(t *testing.T) {
	_, data := deb(t, built(t, "deb")[0])
	_, more := deb(t, built(t, "deb")[2])
	dir := t.TempDir()
	var pages []string
	for _, list := range []map[string]entry{data, more} {
		for path, e := range list {
			if !strings.HasPrefix(path, "/usr/share/man/") || e.Typeflag == tar.TypeDir {
				continue
			}
			z, err := gzip.NewReader(bytes.NewReader(e.data))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			page := filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".gz"))
			if err := os.WriteFile(page, text, 0o644); err != nil {
				t.Fatal(err)
			}
			pages = append(pages, page)
		}
	}
	slices.Sort(pages)
	if len(pages) < 20 {
		t.Errorf("the pages are %q", pages)
	}
	t.Run("mandoc", func(t *testing.T) {
		out, err := exec.Command(tool(t, "mandoc"), append([]string{"-T", "lint", "-W", "warning"}, pages...)...).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("mandoc: %v\n%s", err, out)
		}
	})
	t.Run("man", func(t *testing.T) {
		for _, page := range pages {
			c := exec.Command(tool(t, "man"), "--warnings", "--encoding=UTF-8", "--local-file", page)
			c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
			var errs bytes.Buffer
			c.Stderr = &errs
			out, err := c.Output()
			if err != nil || errs.Len() > 0 || len(out) < 300 {
				t.Errorf("%s: %v\n%s", filepath.Base(page), err, errs.Bytes())
			}
		}
	})
}

// TestCompletion: the shells read what completes commands for them.
func TestCompletion(t *testing.T) {
	_, data := deb(t, built(t, "deb")[0])
	for shell, path := range map[string]string{"bash": "/usr/share/bash-completion/completions/fanin-agent",
		"zsh": "/usr/share/zsh/vendor-completions/_fanin-agent", "fish": "/usr/share/fish/vendor_completions.d/fanin-agent.fish"} {
		t.Run(shell, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "completion")
			if err := os.WriteFile(file, data[path].data, 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(tool(t, shell), "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s: %v\n%s", shell, err, out)
			}
		})
	}
}

// TestVersion: a program says its release, its commit and when that was made.
func TestVersion(t *testing.T) {
	_, data := deb(t, built(t, "deb")[0])
	program := filepath.Join(t.TempDir(), "fanin-agent")
	if err := os.WriteFile(program, data["/usr/bin/fanin-agent"].data, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--version").Output()
	root, _ := build.Root()
	commit, gitErr := exec.Command("git", "-C", root, "rev-parse", "--short=12", "HEAD").Output()
	if gitErr != nil {
		t.Skip("there is no commit: ", gitErr)
	}
	want := fmt.Sprintf("fanin-agent %s (%s", release, strings.TrimSpace(string(commit)))
	if err != nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), ", 20") {
		t.Errorf("--version prints %q, %v; want %q and a date", out, err, want)
	}
}
