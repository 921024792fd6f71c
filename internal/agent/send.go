package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/tail"
)

// sendJob is what send has to do: files as they were when it began.
type sendJob struct {
	want     map[string]int64 // size by absolute path
	order    []string
	patience time.Duration // without progress
	greeting time.Duration // until a collector answers at first
}

// newSendJob looks at what was named. Whatever could not be sent to its last byte is
// refused at once, all of it in one error.
func newSendJob(paths []string) (*sendJob, error) {
	e := &sendJob{want: make(map[string]int64)}
	type file struct{ device, inode uint64 }
	names := make(map[file]string)
	var problems []error
	for _, p := range paths {
		fi, err := sendable(p)
		abs, aerr := filepath.Abs(p)
		if err = cmp.Or(err, aerr); err != nil {
			problems = append(problems, err)
			continue
		}
		if _, ok := e.want[abs]; ok {
			continue
		}
		if id := (file{disk.Device(fi), disk.Inode(fi)}); id != (file{}) {
			if first, ok := names[id]; ok {
				escape.Fprintf(os.Stderr, "%s is the same file as %s; it is sent once\n", p, first)
				continue
			}
			names[id] = p
		}
		e.want[abs], e.order = fi.Size(), append(e.order, abs)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitUsage, Err: err}
	}
	return e, nil
}

// sendable says why something cannot be sent: it must be a file that can be read again
// for as long as it is not committed, and that holds text.
func sendable(path string) (fs.FileInfo, error) {
	const again = "send reads a file again until all of it is committed; write it to a file first, or send plain lines with: nc HOST PORT"
	if path == "-" {
		return nil, errors.New("- is standard input, which cannot be read twice: " + again)
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case fi.IsDir():
		return nil, fmt.Errorf("%s is a directory: name the files in it, as in %s", path, filepath.Join(path, "*.log"))
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file but %s, which cannot be read twice: %s", path, kindOf(fi.Mode()), again)
	case tail.Packed(path):
		return nil, fmt.Errorf("%s is compressed, and send takes text: unpack it first", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 1))
	switch {
	case err != nil && err != io.EOF:
		return nil, err
	case fi.Size() == 0 && n > 0:
		return nil, fmt.Errorf("%s is made up by the system each time it is read, and may be another then: copy it to a file first", path)
	}
	return fi, nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// patterns name the files for the tailer, which takes patterns.
func (e *sendJob) patterns() (patterns []string) {
	literal := strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]")
	if filepath.Separator != '\\' {
		literal = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`)
	}
	for _, path := range e.order {
		patterns = append(patterns, literal.Replace(path))
	}
	return patterns
}

// send follows the files until all that was in them is committed.
func (e *sendJob) send(ctx context.Context, s *settings) error {
	if s.to.scheme == "udp" {
		return daemon.Exitf(daemon.ExitUsage, "send waits for acknowledgements, and udp has none: use tcp:// or tls://")
	}
	a, err := newAgent(s)
	if err != nil {
		return err
	}
	defer func() { a.lock.Close() }() // the one there is then
	for i := range a.tailer.Tables {
		a.tailer.Tables[i].Whole = true
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	var outcome error
	watching.Go(func() { // ends with following, or ends it
		outcome = e.watch(following, a)
		stop()
	})
	err = a.follow(following)
	stop()
	watching.Wait()
	if outcome != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		return err // the tailer could not go on
	}
	return outcome
}

// mostNamed is how many files a message names.
const mostNamed = 10

// watch waits until every file is committed, or there is no use in waiting longer, and
// says why.
func (e *sendJob) watch(ctx context.Context, a *agent) error {
	last, acked := time.Now(), int64(-1)
	patience := e.greeting
	for {
		sum, waits := e.progress(a.tailer.Status())
		if len(waits) == 0 {
			return nil
		}
		if more := len(waits) - mostNamed; more > 0 {
			waits = append(waits[:mostNamed], fmt.Sprintf("and %d more files", more))
		}
		trouble := a.shipper.Trouble()
		if sum != acked {
			last, acked = time.Now(), sum
		}
		if trouble == "" && patience != e.patience {
			last, patience = time.Now(), e.patience
		}
		stopped := false
		select {
		case <-ctx.Done():
			stopped = true
		case <-time.After(20 * time.Millisecond):
		}
		switch {
		case !stopped && time.Since(last) < patience:
		case trouble != "":
			return daemon.Exitf(daemon.ExitUnreachable, "not everything was sent, since there is no connection to the collector: %s\n%s", escape.String(trouble), strings.Join(waits, "\n"))
		default:
			why := fmt.Sprintf("nothing more was committed for %v", patience)
			if stopped {
				why = "it was told to stop"
			}
			return daemon.Exitf(daemon.ExitLater, "not everything was committed (%s); what was is not sent again\n%s", why, strings.Join(waits, "\n"))
		}
	}
}

// progress is how many bytes are committed, and which files are not, and why.
func (e *sendJob) progress(list []tail.FileStatus) (acked int64, waits []string) {
	found := make(map[string]tail.FileStatus, len(list))
	for _, f := range list {
		found[f.Path] = f
	}
	for _, path := range e.order {
		f, ok := found[path]
		size := e.want[path]
		if ok && f.Agreed {
			acked += min(f.Acked, size)
		}
		switch {
		case !ok:
			waits = append(waits, path+": nothing of it was sent")
		case !f.Agreed || f.Acked < size:
			waits = append(waits, strings.TrimSuffix(fmt.Sprintf("%s: %d of %d bytes are committed: %s", path, f.Acked, size, f.Trouble), ": "))
		}
	}
	return acked, waits
}
