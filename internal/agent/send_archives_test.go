package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fanin/internal/daemon"
	"fanin/internal/wire/appendertest"
)

// tool compresses text with a program.
func tool(t *testing.T, text, program string, args ...string) string {
	t.Helper()
	c := exec.Command(program, args...)
	c.Stdin = strings.NewReader(text)
	out, err := c.Output()
	if err != nil {
		t.Skipf("%s: %v", program, err)
	}
	return string(out)
}

// sendJSON runs `send --json`.
func sendJSON(t *testing.T, addr, state string, args ...string) (code int, r sendResult) {
	t.Helper()
	c := Command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs(append([]string{"send", "--json", "--to", addr, "--id", "a", "--state", state}, args...))
	err := c.Execute()
	if jerr := json.Unmarshal(out.Bytes(), &r); jerr != nil {
		t.Fatalf("%v: %q", jerr, out.String())
	}
	return daemon.Code(err), r
}

// sortedLines is what a Memory has, sorted.
func sortedLines(m *appendertest.Memory) string {
	lines := strings.Fields(texts(m))
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// TestSendDirectory: of a directory, each file in it and below it is sent once, what is
// compressed too; what is no log is named, and stops nothing.
func TestSendDirectory(t *testing.T) {
	m, addr := collect(t)
	dir, state := t.TempDir(), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.MkdirAll(at("sub/deep"), 0o750); err != nil {
		t.Fatal(err)
	}
	write(t, at("app.log"), "one\n")
	write(t, at("app.log.1.gz"), tool(t, "two\nthree", "gzip", "-9"))
	write(t, at("sub/deep/b.log.zst"), tool(t, "four\n", "zstd"))
	write(t, at("sub/empty.log"), "")
	write(t, at("sub/again.gz"), tool(t, "two\nthree", "gzip", "-1"))
	write(t, at(".hidden"), "no\n")
	write(t, at("wtmp"), "\x00\x01")
	write(t, at("x.xz"), "\xfd7zXZ\x00")
	for name, to := range map[string]string{"sub/link.log": at("app.log"), "loop": dir, "README": at("nowhere")} {
		if err := os.Symlink(to, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		if round == 2 {
			state = t.TempDir() // the collector alone knows what was sent; plain files are recognized, too
		}
		code, r := sendJSON(t, addr, state, dir)
		if got := sortedLines(m); code != 0 || !r.Complete || got != "four one three two" {
			t.Fatalf("round %d: exit %d, %+v, committed %q", round, code, r, got)
		}
		if r.Files != 5 || r.Bytes != 4+9+5+9 || round == 0 && r.SentLines != 4 || round > 0 && r.SentLines != 0 {
			t.Errorf("round %d: %+v", round, r)
		}
		said := make(map[string]string)
		for _, n := range r.Skipped {
			said[strings.TrimPrefix(n.Path, dir+"/")] = n.Reason
		}
		for name, word := range map[string]string{".hidden": "dot", "wtmp": "database", "x.xz": "compressed", "loop": "link to a directory", "README": "does not exist"} {
			if !strings.Contains(said[name], word) {
				t.Errorf("of %s it says %q, want %q", name, said[name], word)
			}
		}
		if twins := said["app.log.1.gz"] + said["sub/again.gz"]; !strings.Contains(twins, "same text as") {
			t.Errorf("of two archives with one text it says %q", twins)
		}
		if twins := said["app.log"] + said["sub/link.log"]; !strings.Contains(twins, "same file as") {
			t.Errorf("of two names of one file it says %q", twins)
		}
	}
}

// TestSendDamaged: archives that are damaged are sent up to that, and named; the exit code
// says so; everything else is sent.
func TestSendDamaged(t *testing.T) {
	var b strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&b, "%d-%x\n", i, i*i*7919)
	}
	text := b.String()
	for _, program := range []string{"gzip", "zstd"} {
		t.Run(program, func(t *testing.T) {
			m, addr := collect(t)
			dir, state := t.TempDir(), t.TempDir()
			ext := map[string]string{"gzip": ".gz", "zstd": ".zst"}[program]
			whole := tool(t, text, program)
			cut := write(t, filepath.Join(dir, "cut"+ext), whole[:len(whole)*4/5])
			write(t, filepath.Join(dir, "none"+ext), "")
			write(t, filepath.Join(dir, "empty.log"), "")
			code, r := sendJSON(t, addr, state, dir)
			if code != daemon.ExitData || r.Complete || len(r.Damaged) != 2 || r.Files != 1 {
				t.Fatalf("exit %d: %+v", code, r)
			}
			if code, said := sendFiles(t, addr, state, cut); code != daemon.ExitData || !strings.Contains(said, cut+": it is cut off") {
				t.Errorf("exit %d: %s", code, said)
			}
			if got := texts(m); !strings.HasPrefix(text, got) || !strings.HasSuffix(got, "\n") || len(got) < len(text)/4 {
				t.Errorf("%d of %d bytes before the cut, ending in %.100q", len(got), len(text), got[max(0, len(got)-100):])
			}
			write(t, cut, whole)
			if code, said := sendFiles(t, addr, t.TempDir(), cut); code != 0 || texts(m) != text {
				t.Fatalf("exit %d: %s; %d bytes of %d", code, said, len(texts(m)), len(text))
			}

			m, addr = collect(t)
			flipped := []byte(whole)
			flipped[len(flipped)*2/3] ^= 0xff
			code, said := sendFiles(t, addr, state, write(t, filepath.Join(dir, "flipped"+ext), string(flipped)))
			if got := texts(m); code != daemon.ExitData || !strings.Contains(said, "may be wrong") || !strings.HasPrefix(got, text[:len(text)/4]) {
				t.Errorf("exit %d: %s; of the changed archive: %.200q", code, said, got)
			}
		})
	}
}
