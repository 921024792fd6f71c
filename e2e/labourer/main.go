// Command labourer is a worker that keeps a ledger of what it was given, what it
// answered and what was accepted, so that a checker can hold the hand-out to its
// promise. It is meant to be killed. Some lines it can never do, some only the
// second time, and now and then it falls asleep.
//
// The ledger is text, written before each step is taken:
//
//	D time session delivery attempt position,source,seq ...   given; source -1: not a line of a test
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

// labourer is one worker with its ledger.
type labourer struct {
	ledger *os.File
	lease  time.Duration

	mu      sync.Mutex
	session int64
}

func main() {
	l := &labourer{}
	o := protocol.Hello{From: "start", Credit: 300, Batch: 60}
	connect := flag.String("connect", "", "address")
	ledger := flag.String("ledger", "", "file to append to")
	flag.StringVar(&o.Group, "group", "", "group")
	flag.StringVar(&o.Key, "key", "", "key")
	url := flag.String("nats", "", "instead of connect: servers of NATS")
	stream := flag.String("stream", "", "with nats: the work queue")
	flag.DurationVar(&l.lease, "lease", time.Second, "lease")
	flag.Parse()
	var err error
	if l.ledger, err = os.OpenFile(*ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	o.Lease = l.lease
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if *url != "" {
		if err := l.overNATS(ctx, *url, *stream); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintln(os.Stderr, "working")
	w := worker.Worker{Address: *connect, Options: o, Handle: l.handle, Accepted: l.accepted, Welcomed: l.welcomed}
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (l *labourer) note(format string, args ...any) { fmt.Fprintf(l.ledger, format, args...) }

// welcomed begins a session: deliveries are numbered anew in each.
func (l *labourer) welcomed(protocol.Welcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = time.Now().UnixNano()
}

func (l *labourer) now() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

func (l *labourer) accepted(n uint64, from, to int) {
	l.note("K %d %d %d %d %d\n", time.Now().UnixNano(), l.now(), n, from, to)
}

func (l *labourer) handle(ctx context.Context, d *worker.Delivery) error {
	session := l.now()
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
	l.ledger.Write(given.Bytes())
	if rand.IntN(500) == 0 {
		time.Sleep(l.lease + l.lease/2)
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
		l.note("A %d %d %d %d %d\n", time.Now().UnixNano(), session, d.N, at, to)
		if d.Ack(at, to) != nil {
			return nil
		}
		at = to
	}
	return nil
}
