// Command ledgerworker is a worker that keeps a ledger of the lines that it received, what
// it answered and what was accepted, so that a checker can verify what is promised to
// workers. It is meant to be killed. Some lines always fail, some fail at the first
// attempt, and now and then the worker lets its lease end.
//
// The ledger is text, written before each step:
//
//	D time session delivery attempt position,source,seq ...   received; source -1: not a line of a test
//	A time session delivery from to                           acknowledged
//	K time session delivery from to                           accepted
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"fanin/e2e/load"
	"fanin/sink/distribute/protocol"
	"fanin/sink/distribute/worker"
)

// ledgerWorker is one worker with its ledger.
type ledgerWorker struct {
	ledger *os.File
	lease  time.Duration

	mu      sync.Mutex
	session int64
}

func main() {
	w := &ledgerWorker{}
	o := protocol.Hello{From: "start", Credit: 300, Batch: 60}
	connect := flag.String("connect", "", "address")
	ledger := flag.String("ledger", "", "file to append to")
	flag.StringVar(&o.Group, "group", "", "group")
	flag.StringVar(&o.Key, "key", "", "key")
	url := flag.String("nats", "", "instead of connect: servers of NATS")
	stream := flag.String("stream", "", "with nats: the work queue")
	flag.DurationVar(&w.lease, "lease", time.Second, "lease")
	member := flag.Bool("cluster", false, "the address is that of a member of a cluster: deliveries have numbers of their own over all connections")
	flag.Parse()
	var err error
	if w.ledger, err = os.OpenFile(*ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	o.Lease = w.lease
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if *url != "" {
		if err := w.overNATS(ctx, *url, *stream); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintln(os.Stderr, "working")
	run := worker.Worker{Address: *connect, Options: o, Handle: w.handle, Accepted: w.accepted}
	if !*member {
		run.Welcomed = w.welcomed
	}
	if err := run.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (w *ledgerWorker) note(format string, args ...any) { fmt.Fprintf(w.ledger, format, args...) }

// welcomed begins a session. Each session numbers its deliveries from 1.
func (w *ledgerWorker) welcomed(protocol.Welcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session = time.Now().UnixNano()
}

func (w *ledgerWorker) now() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.session
}

func (w *ledgerWorker) accepted(n uint64, from, to int) {
	w.note("K %d %d %d %d %d\n", time.Now().UnixNano(), w.now(), n, from, to)
}

func (w *ledgerWorker) handle(ctx context.Context, d *worker.Delivery) error {
	session := w.now()
	var given bytes.Buffer
	fmt.Fprintf(&given, "D %d %d %d %d", time.Now().UnixNano(), session, d.N, d.Attempt)
	var fails []bool
	for _, line := range d.Lines() {
		_, body, _ := bytes.Cut(line.Text, []byte(": "))
		src, seq, err := load.Parse(body)
		if err != nil {
			src, seq = -1, 0
		}
		fmt.Fprintf(&given, " %s,%d,%d", line.ID, src, seq)
		fails = append(fails, err == nil && (seq%997 == 500 || seq%331 == 0 && d.Attempt == 1))
	}
	given.WriteByte('\n')
	w.ledger.Write(given.Bytes())
	if rand.IntN(500) == 0 {
		time.Sleep(w.lease + w.lease/2)
	}
	for at := 0; at < d.Len(); {
		if fails[at] {
			if d.Nack(at, at+1, "cannot do it") != nil {
				return nil
			}
			at++
			continue
		}
		to := at + 1
		for most := at + 1 + rand.IntN(40); to < d.Len() && to < most && !fails[to]; {
			to++
		}
		w.note("A %d %d %d %d %d\n", time.Now().UnixNano(), session, d.N, at, to)
		if d.Ack(at, to) != nil {
			return nil
		}
		at = to
	}
	return nil
}
