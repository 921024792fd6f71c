package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/certs"
	"fanin/internal/daemon"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// labourer is the command `work`: workers that are commands.
type labourer struct {
	connect   string
	options   protocol.Hello
	workers   int
	batch     int
	lines     bool
	secure    bool
	files     certs.Files
	argv      []string
	log       *slog.Logger
	out, errs io.Writer
}

func (o *options) workCommand() *cobra.Command {
	l := &labourer{log: daemon.Logger(slog.LevelInfo)}
	c := &cobra.Command{
		Use:   "work --connect ADDR --group NAME [flags] -- command [argument...]",
		Short: "be a worker: give lines of a group to a command, and acknowledge what it took",
		Long: `Gives the lines of a group to a command. Each line goes to one worker of the
group, again until one has acknowledged it.

The command is started for each batch, with the lines on its standard input. When
it exits with 0, all of them are acknowledged. When it fails, they are handed out
again, in ever smaller batches, and a line that failed alone for the last time is
put to the group's dead letters.

With --lines the command runs on. For each line on its standard input, in turn,
it answers one line on its standard output: "ok", or "fail" and a reason. When it
ends, it is started again; the line it was at has failed, those behind it have not.`,
		Example: "  fanin-collector work --connect 127.0.0.1:6791 --group mail -j 4 -- ./send.sh",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			l.argv, l.out, l.errs = args, c.OutOrStdout(), c.ErrOrStderr()
			return l.run(daemon.Terminated())
		},
	}
	f := c.Flags()
	f.StringVar(&l.connect, "connect", "", "the `address` of the collector's [collector.work]")
	f.StringVar(&l.options.Group, "group", "", "the group's `name`")
	f.StringVar(&l.options.From, "from", "", "`where` a group that is new begins: end (default), start, a time, a time span ago, a position")
	f.IntVarP(&l.workers, "jobs", "j", 1, "so many workers, `N` commands at a time")
	f.IntVar(&l.batch, "batch", 1000, "give a command at most `N` lines at a time")
	f.BoolVar(&l.lines, "lines", false, "the command runs on and answers each line")
	f.DurationVar(&l.options.Lease, "lease", 0, "`time` that a batch may take (default and bound: the collector's)")
	f.StringVar(&l.options.Key, "key", "", "lines of the same `key` go to the same worker, in order: host, source or host+source")
	f.StringArrayVar(&l.options.Host, "host", nil, "only lines of this `host`; * and ? stand for anything; may be repeated")
	f.StringArrayVar(&l.options.Source, "source", nil, "only lines of this `source`; likewise")
	f.StringArrayVarP(&l.options.Include, "include", "i", nil, "only lines that match this `expression` (RE2); all of them, if repeated")
	f.StringArrayVarP(&l.options.Exclude, "exclude", "e", nil, "no lines that match this `expression`")
	f.BoolVar(&l.secure, "tls", false, "speak TLS")
	f.StringVar(&l.files.CA, "ca", "", "with --tls: the authority's certificate `file` (default: the system's)")
	f.StringVar(&l.files.Cert, "cert", "", "with --tls: the certificate `file` to show")
	f.StringVar(&l.files.Key, "cert-key", "", "with --tls: its key `file`")
	return c
}

// run works until ctx ends, or until the collector refuses.
func (l *labourer) run(ctx context.Context) error {
	if l.connect == "" || l.options.Group == "" {
		return daemon.Exitf(daemon.ExitUsage, "say where and for which group: --connect ADDR --group NAME")
	}
	if l.workers < 1 || l.batch < 1 {
		return daemon.Exitf(daemon.ExitUsage, "--jobs and --batch are at least 1")
	}
	if _, err := exec.LookPath(l.argv[0]); err != nil {
		return daemon.Exitf(daemon.ExitUsage, "%w", err)
	}
	config, err := l.tls()
	if err != nil {
		return err
	}
	l.options.Batch, l.options.Credit = l.batch, 2*l.batch
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, _ := os.Hostname()
	var all sync.WaitGroup
	outcomes := make(chan error, l.workers)
	for i := range l.workers {
		w := worker.Worker{Address: l.connect, TLS: config, Options: l.options, Log: l.log}
		w.Options.Name = fmt.Sprintf("%s/%d/%d", host, os.Getpid(), i+1)
		hand := &hand{l: l}
		w.Handle = hand.batch
		if l.lines {
			w.Handle = hand.line
		}
		all.Go(func() { // ends with ctx
			outcomes <- w.Run(ctx)
			hand.stop()
			cancel() // one that is refused would be missed among the others
		})
	}
	all.Wait()
	close(outcomes)
	for err := range outcomes {
		var refused *worker.RefusedError
		if errors.As(err, &refused) {
			return daemon.Exitf(daemon.ExitUsage, "%w", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *labourer) tls() (*tls.Config, error) {
	if !l.secure {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(l.connect)
	if err != nil {
		return nil, daemon.Exitf(daemon.ExitUsage, "--connect %q: %w", l.connect, err)
	}
	l.files.ServerName = host
	config, err := l.files.Client()
	if err != nil {
		return nil, daemon.Exitf(daemon.ExitConfig, "%w", err)
	}
	return config(), nil
}

// hand is one worker's command.
type hand struct {
	l       *labourer
	cmd     *exec.Cmd // with --lines: while it runs
	stdin   io.WriteCloser
	answers *bufio.Reader
}

// lastWords keeps what a command said last on its standard error, which passes
// through.
type lastWords struct {
	to   io.Writer
	last []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.last = append(w.last, p...)
	w.last = w.last[max(0, len(w.last)-400):]
	return w.to.Write(p)
}

// failure is err with what the command said last.
func (w *lastWords) failure(err error) error {
	words := strings.TrimSpace(string(w.last))
	if _, last, ok := strings.Cut(words, "\n"); ok {
		words = strings.TrimSpace(last[strings.LastIndexByte(last, '\n')+1:])
	}
	if words == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, words)
}

// batch runs the command once, for all lines of a delivery.
func (h *hand) batch(ctx context.Context, d *worker.Delivery) error {
	if ctx.Err() != nil {
		return worker.ErrRelease
	}
	words := &lastWords{to: h.l.errs}
	cmd := exec.Command(h.l.argv[0], h.l.argv[1:]...) // finishes what it has, whatever ctx says
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(d.Text), h.l.out, words
	cmd.Env = append(os.Environ(), fmt.Sprintf("FANIN_ATTEMPT=%d", d.Attempt), "FANIN_POSITION="+first(d))
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", h.l.argv[0], err)
	}
	stop := touching(d)
	err := cmd.Wait()
	stop()
	if err != nil {
		return words.failure(err)
	}
	return nil
}

func first(d *worker.Delivery) string {
	for _, line := range d.Lines() {
		return line.ID.String()
	}
	return ""
}

// touching keeps a delivery's lease from ending while its command runs, for up
// to an hour: a command that hangs shall not hold its lines for ever.
func touching(d *worker.Delivery) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // ends with stop
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for until := time.Now().Add(time.Hour); time.Now().Before(until); {
			select {
			case <-tick.C:
				d.Touch()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

// line gives the lines of a delivery to the command that runs on, and takes its
// answers.
func (h *hand) line(ctx context.Context, d *worker.Delivery) error {
	if ctx.Err() != nil {
		return worker.ErrRelease
	}
	if h.cmd == nil {
		if err := h.start(); err != nil {
			return err
		}
	}
	stop := touching(d)
	defer stop()
	go func(stdin io.Writer) { stdin.Write(d.Text) }(h.stdin) // ends with the last line, or the command
	acked, said := 0, time.Now()
	for i := range d.Len() {
		answer, err := h.answers.ReadString('\n')
		if err != nil {
			d.Nack(i, i+1, fmt.Sprintf("the command ended: %v", h.end()))
			if i > acked {
				d.Ack(acked, i)
			}
			if i+1 < d.Len() {
				d.Release(i+1, d.Len())
			}
			return nil
		}
		answer = strings.TrimSpace(answer)
		word, reason, _ := strings.Cut(answer, " ")
		if strings.EqualFold(word, "ok") {
			if time.Since(said) > 100*time.Millisecond { // slow work: what is done need not come again
				d.Ack(acked, i+1)
				acked, said = i+1, time.Now()
			}
			continue
		}
		if i > acked {
			d.Ack(acked, i)
		}
		acked = i + 1
		if !strings.EqualFold(word, "fail") {
			reason = fmt.Sprintf("the command answered %q, and not \"ok\" or \"fail REASON\"", answer)
		}
		d.Nack(i, i+1, reason)
	}
	if acked < d.Len() {
		d.Ack(acked, d.Len())
	}
	return nil
}

func (h *hand) start() error {
	cmd := exec.Command(h.l.argv[0], h.l.argv[1:]...)
	cmd.Stderr = h.l.errs
	ownGroup(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", h.l.argv[0], err)
	}
	h.cmd, h.stdin, h.answers = cmd, stdin, bufio.NewReader(stdout)
	return nil
}

// end waits for a command that closed its standard output.
func (h *hand) end() error {
	h.stdin.Close()
	err := h.cmd.Wait()
	h.cmd = nil
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

// stop ends a command that runs on: it sees the end of its input.
func (h *hand) stop() {
	if h.cmd == nil {
		return
	}
	h.stdin.Close()
	kill := time.AfterFunc(10*time.Second, func() { h.cmd.Process.Kill() })
	h.cmd.Wait()
	kill.Stop()
}

// ownGroup keeps a Ctrl-C at the terminal from the command: it finishes what it
// has.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
