package agent

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"fanin/internal/spool"
)

// lastWords is how long the input must be silent to end it after a signal: a shell sends the
// signal to all processes of a pipeline, and the one that writes may have more to say.
const lastWords = time.Second

// readInput spools the lines of r until its end; when stop has ended, until r is silent; when end
// has ended, no longer. A read that waits is given up then: the process that writes need not end
// when this one does. ctx bounds the waiting for room.
func readInput(ctx context.Context, in *spool.Input, r io.Reader, stop, end context.Context) error {
	over := make(chan error, 1)
	go func() { over <- in.Read(ctx, r) }() // ends with r, at the first read after the end, or with the process
	select {
	case err := <-over:
		return err
	case <-stop.Done():
	}
	for stopped := time.Now(); ; {
		silent := min(in.Silent(), time.Since(stopped))
		if silent >= lastWords {
			return in.End(ctx)
		}
		select {
		case err := <-over:
			return err
		case <-end.Done():
			return in.End(ctx)
		case <-time.After(lastWords - silent):
		}
	}
}

// pollable returns a pipe opened once more, so that a read that waits holds no thread: a blocking read takes one of
// the runtime's processors away from the spool and the sender, until the runtime notices. The pipe's own
// descriptor stays as it is, because its mode is that of all processes that share it. What is no pipe, and a pipe
// that may not be opened, as where the system has no /proc, is returned as it is.
func pollable(f *os.File) *os.File {
	fi, err := f.Stat()
	if err != nil || fi.Mode()&fs.ModeNamedPipe == 0 {
		return f
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return f
	}
	return again
}
