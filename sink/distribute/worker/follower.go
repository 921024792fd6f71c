package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"fanin/internal/retry"
	"fanin/sink/distribute/protocol"
)

// follower is a worker of a cluster: it has a connection to the collector that hands out each partition
// to its group, and goes where that partition goes. Deliveries of all partitions are handled one at
// a time.
type follower struct {
	w        *Worker
	turn     chan struct{}
	limited  *retry.Log
	sessions uint64 // under mu

	mu       sync.Mutex
	at       map[int]protocol.Place
	n        int // partitions
	asked    time.Time
	members  []string // addresses that may know the places, the best first
	welcomed bool
	refusals map[int]bool // partitions that have refused it, before any welcome
	refused  error        // all did: another attempt would end the same way
	stop     context.CancelFunc
}

// The pause before a partition is looked for again, and how old an answer about all places may be.
const (
	firstLook   = 50 * time.Millisecond
	longestLook = time.Second
	placesAge   = 200 * time.Millisecond
	askWithin   = 5 * time.Second
)

// follow works for a cluster until ctx ends, or until the cluster refuses the worker before it was
// ever welcomed.
func (w *Worker) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	f := &follower{w: w, turn: make(chan struct{}, 1), limited: retry.NewLog(w.Log), at: make(map[int]protocol.Place),
		members: []string{w.Address}, refusals: make(map[int]bool), stop: stop}
	pause := retry.Backoff{Min: firstPause, Max: longestPause, Jitter: true}
	for f.n == 0 {
		err := f.look(ctx, time.Now())
		var refused *RefusedError
		if errors.As(err, &refused) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.Log.Warn("the cluster does not say where its partitions are; trying again", "collector", w.Address,
				"err", err)
			pause.Wait(ctx)
		}
	}
	var all sync.WaitGroup
	for p := range f.n {
		all.Go(func() { f.attend(ctx, p) }) // ends with ctx
	}
	all.Wait()
	return f.refused
}

// attend works for one partition until ctx ends, wherever it is.
func (f *follower) attend(ctx context.Context, p int) {
	pause := retry.Backoff{Min: firstLook, Max: longestLook, Jitter: true}
	for ctx.Err() == nil {
		place := f.place(p)
		err := errors.New(place.Reason)
		if place.Address != "" {
			began := time.Now()
			var welcomed bool
			welcomed, err = f.connect(ctx, place)
			f.note(p, welcomed, err)
			if welcomed && time.Since(began) > firstLook {
				pause.Reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		f.limited.Warn(strconv.Itoa(p), "no lines of a partition now; looking where it is", "partition", p,
			"collector", place.Address, "err", err)
		ended := time.Now()
		pause.Wait(ctx)
		if err := f.look(ctx, ended); err != nil && ctx.Err() == nil {
			f.limited.Warn("places", "the cluster does not say where its partitions are; trying again", "err", err)
		}
	}
}

// note notes how the connection for a partition ended. One partition's refusal is not final: it may be of a
// bound that others keep.
func (f *follower) note(p int, welcomed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.welcomed = f.welcomed || welcomed
	var refused *RefusedError
	if !errors.As(err, &refused) || f.welcomed {
		return
	}
	if f.refusals[p] = true; len(f.refusals) == f.n {
		f.refused = err
		f.stop()
	}
}

// place is where a partition was last.
func (f *follower) place(p int) protocol.Place {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[p]
}

// connect works over a connection for one partition.
func (f *follower) connect(ctx context.Context, place protocol.Place) (welcomed bool, err error) {
	x, err := f.workerOf(place.Address)
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	f.sessions++
	x.serial = f.sessions
	f.mu.Unlock()
	x.turn, x.Options.Partition = f.turn, strconv.Itoa(place.Partition)
	welcomed, err = x.connect(ctx)
	var moved *movedError
	if errors.As(err, &moved) {
		f.learn(place.Address, moved.places)
	}
	return welcomed, err
}

// workerOf is the worker for a connection to a member of the cluster.
func (f *follower) workerOf(address string) (*Worker, error) {
	x := *f.w
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("the cluster names the address %q: %w", address, err)
	}
	first, _, _ := net.SplitHostPort(x.Address)
	if x.Options.Token != "" && x.TLS == nil && !isHere(host) && isHere(first) {
		return nil, fmt.Errorf("the cluster names the address %s, and the token is not sent there: the connection is "+
			"not encrypted", address)
	}
	if x.TLS != nil && address != x.Address {
		x.TLS = x.TLS.Clone()
		x.TLS.ServerName = host
	}
	x.Address, x.Options.Cluster = address, true
	return &x, nil
}

func isHere(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// look asks where the partitions are, unless an answer is younger than since. A member that knows no place
// at all is not in touch: another one may know more.
func (f *follower) look(ctx context.Context, since time.Time) error {
	f.mu.Lock()
	fresh := f.asked.After(since) || time.Since(f.asked) < placesAge
	members := slices.Clone(f.members)
	f.mu.Unlock()
	if fresh {
		return nil
	}
	var errs []error
	var least *protocol.Places
	for _, address := range members {
		places, err := f.ask(ctx, address)
		if err == nil && slices.ContainsFunc(places.At, func(x protocol.Place) bool { return x.Address != "" }) {
			f.learn(address, places)
			return nil
		}
		if err == nil {
			least = places
		}
		errs = append(errs, err)
	}
	if least != nil {
		f.learn(f.w.Address, least)
		return nil
	}
	return errors.Join(errs...)
}

// ask asks a member of the cluster where the partitions are.
func (f *follower) ask(ctx context.Context, address string) (*protocol.Places, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	x, err := f.workerOf(address)
	if err != nil {
		return nil, err
	}
	x.Welcomed = nil
	_, err = x.connect(ctx)
	var moved *movedError
	if errors.As(err, &moved) {
		return moved.places, nil
	}
	if err == nil {
		err = fmt.Errorf("%s is not a member of a cluster", address)
	}
	return nil, err
}

// learn notes where the partitions are, as the member at an address says.
func (f *follower) learn(address string, places *protocol.Places) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == 0 {
		f.n = places.Partitions
	}
	f.asked = time.Now()
	known := map[string]bool{address: true, f.w.Address: true}
	clear(f.at)
	for _, x := range places.At {
		f.at[x.Partition] = x
		known[x.Address] = true
	}
	for _, m := range f.members {
		known[m] = true
	}
	delete(known, "")
	delete(known, address)
	f.members = append([]string{address}, slices.Sorted(maps.Keys(known))...)
}

// movedError is the answer of a member of a cluster that does not have the lines that were asked for.
type movedError struct{ places *protocol.Places }

// Error says so.
func (*movedError) Error() string { return "the lines are handed out by another collector now" }
