package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// logrotateModes are the ways in which logrotate rotates, as its configuration names them. A
// copy with "copy" alone leaves the file as it was.
var logrotateModes = []string{
	"create", "create compress", "create compress delaycompress", "nocreate", "create sharedscripts",
	"copytruncate", "copytruncate compress", "copytruncate compress delaycompress", "copytruncate dateext dateformat .%Y%m%d-%s",
	"create dateext dateformat -%Y%m%d-%s", "create dateext dateformat _%Y%m%d-%s compress", "create extension .log",
	"create olddir OLD", "create olddir OLD compress", "copytruncate olddir OLD", "nocreate renamecopy", "create renamecopy compress",
	"create start 7", "create addextension .log", "create dateext dateformat -%Y-%m-%d-%s dateyesterday sharedscripts compress",
}

// looks is the time of some looks at the files.
const looks = 600 * time.Millisecond

// Logrotate has the real logrotate rotate the sources n times, in all its modes. Programs open
// their file anew when its script tells them to.
func (p *Programs) Logrotate(n int) (*Result, error) {
	program, err := exec.LookPath("logrotate")
	if err != nil {
		return nil, fmt.Errorf("%w: logrotate is not installed", ErrUnable)
	}
	d, err := p.begin(plan{name: "logrotate", log: rotating, rotate: 1 << 30, few: true, logrotate: true})
	if err != nil {
		return nil, err
	}
	x := &logrotate{day: d, program: program, sources: filepath.Join(d.dir, "sources"), called: filepath.Join(d.dir, "called")}
	if err := os.Mkdir(filepath.Join(d.dir, "old"), 0o750); err != nil {
		d.fail(err)
	}
	return d.rounds(n, func(i int) error {
		time.Sleep(looks) // what is rotated and compressed before a look is lost, and reported
		moment(100 * time.Millisecond)
		err := x.rotate(logrotateModes[i%len(logrotateModes)])
		if i == n-1 {
			time.Sleep(looks) // so that the last files are found
		}
		return err
	})
}

// logrotate is the program, and what it rotates.
type logrotate struct {
	*day
	program, sources string
	called           string // a file that its script makes, and waits for until it is removed
}

// rotate runs it once.
func (x *logrotate) rotate(mode string) error {
	settings := strings.NewReplacer(" compress", "\n\tcompress", " delaycompress", "\n\tdelaycompress", " dateext", "\n\tdateext",
		" dateformat", "\n\tdateformat", " dateyesterday", "\n\tdateyesterday", " sharedscripts", "\n\tsharedscripts",
		" olddir OLD", "\n\tolddir "+filepath.Join(x.dir, "old"), " extension", "\n\textension", " addextension", "\n\taddextension",
		" renamecopy", "\n\trenamecopy", " start", "\n\tstart").Replace(mode)
	text := fmt.Sprintf("%s {\n\tsu root root\n\trotate 30\n\tmissingok\n\t%s\n\tpostrotate\n\t\ttouch %s\n\t\twhile [ -e %s ]; do sleep 0.005; done\n\tendscript\n}\n",
		filepath.Join(x.sources, "app?.log"), settings, x.called, x.called)
	if os.Getuid() != 0 {
		text = strings.Replace(text, "\tsu root root\n", "", 1)
	}
	config := filepath.Join(x.dir, "logrotate.conf")
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		return err
	}
	if strings.HasPrefix(mode, "copytruncate") {
		for _, w := range x.writers {
			defer w.Hold()()
		}
	}
	cmd := exec.Command(x.program, "--force", "--state", filepath.Join(x.dir, "logrotate.state"), config)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the program
	for {
		select {
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("logrotate, %s: %w:\n%s", mode, err, said.String())
			}
			return nil
		case <-time.After(2 * time.Millisecond):
			x.answer(mode)
		}
	}
}

// answer does what the script asks for.
func (x *logrotate) answer(mode string) {
	if _, err := os.Stat(x.called); err != nil {
		return
	}
	if !strings.HasPrefix(mode, "copytruncate") {
		for _, w := range x.writers {
			w.Reopen()
		}
	}
	os.Remove(x.called)
}
