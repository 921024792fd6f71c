package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/join"
)

// configure writes the configuration, unless there is one with settings of its own.
func (j *joinJob) configure(i *identity, t *join.Token, name string) error {
	path, err := disk.Target(j.config)
	if err != nil {
		return err
	}
	if err := i.disk.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return j.explain(err)
	}
	lines := j.lines(i, t, name)
	old, err := disk.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return j.write(i, path, newConfig(lines), false)
	case err != nil:
		return j.explain(err)
	case strings.Contains(string(old), fmt.Sprintf("%q", i.path())):
		escape.Fprintf(j.out, "%s is kept: it has the certificate already\n", path)
		return nil
	}
	text, ok := installed(string(old), lines)
	if !ok {
		return daemon.Exitf(daemon.ExitConfig, "the certificate is there, and %s was not changed, because it has "+
			"settings of "+
			"its own. Put these lines into its [agent] table, in the place of those that it has:\n%s", path,
			strings.Join(lines, "\n"))
	}
	return j.write(i, path, text, true)
}

// lines are those of the [agent] table.
func (j *joinJob) lines(i *identity, t *join.Token, name string) []string {
	return []string{
		fmt.Sprintf("id = %q", name),
		fmt.Sprintf("state = %q", filepath.Dir(i.dir)),
		fmt.Sprintf("to = [%q]", "tls://"+t.Address),
		fmt.Sprintf("tls = {ca = %q, cert = %q, key = %[2]q}", i.ca(), i.path()),
	}
}

// newConfig is a configuration where there was none.
func newConfig(lines []string) string {
	return "# fanin-agent, as fanin-agent join has written it. All keys: " +
		"/usr/share/doc/fanin-agent/config.example.toml\n" +
		"# After a change: fanin-agent check --config /etc/fanin/agent.toml --no-environment\n" +
		"[agent]\n" + strings.Join(lines, "\n") + "\n\n[[agent.file]]\n" +
		"paths = [\"/var/log/*.log\", \"/var/log/syslog\", \"/var/log/messages\"]\n"
}

var (
	installedTo = regexp.MustCompile(`(?m)^to = \["tcp://127\.0\.0\.1:6789"\]$`)
	ownKeys     = regexp.MustCompile(`(?m)^\s*(id|state|tls|to)\s*=`)
)

// installed returns a configuration with other lines in the place of the one that sends to this
// machine, as the package installs it; ok is false if it is not that.
func installed(old string, lines []string) (text string, ok bool) {
	at := installedTo.FindStringIndex(old)
	if at == nil || len(ownKeys.FindAllString(old, -1)) != 1 {
		return "", false
	}
	return old[:at[0]] + strings.Join(lines, "\n") + old[at[1]:], true
}

// write writes the configuration, if it has no mistakes.
func (j *joinJob) write(i *identity, path, text string, replace bool) error {
	mode := fs.FileMode(0o644)
	if fi, err := os.Stat(path); err == nil {
		mode = fi.Mode().Perm()
	}
	err := i.disk.WriteTried(path, []byte(text), mode, replace, func(trial string) error {
		if _, err := (&options{config: trial}).load(nil); err != nil {
			return fmt.Errorf("the certificate is there, and %s was not changed: %w", path, err)
		}
		return nil
	})
	if err == nil {
		escape.Fprintf(j.out, "wrote %s\n", path)
	}
	return j.explain(err)
}
