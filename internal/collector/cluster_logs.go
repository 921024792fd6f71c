package collector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"fanin/internal/cluster"
	"fanin/sink"
	"fanin/sink/depot"
	"fanin/sink/merge"
)

// partitionLog is what a member of a cluster has of a partition, as GET /partitions lists it.
type partitionLog struct {
	Partition int              `json:"partition"`
	Log       string           `json:"log"` // the id of its log
	Format    string           `json:"format"`
	Tenures   []cluster.Tenure `json:"tenures"` // of all owners, as far as the member knows them

	source merge.Source // where the log is read
}

// clusterLogs are the logs of a cluster's partitions, as far as they were found.
type clusterLogs struct {
	find    func(ctx context.Context) ([]partitionLog, error) // finds them
	archive *depot.Depot                                      // has logs that find does not; nil: there is none

	mu      sync.Mutex
	found   time.Time // when
	tenures map[int][]merge.Tenure
	absent  map[int][]cluster.Tenure // whose logs were not found, or not all of them
	copies  map[string]*merge.Archived
}

// findEvery is how often the logs are looked for while they are followed: partitions move.
const findEvery = 2 * time.Second

// look finds the logs, unless that was just done.
func (l *clusterLogs) look(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.found) < findEvery {
		return nil
	}
	list, err := l.find(ctx)
	if err != nil {
		return err
	}
	l.found, l.tenures, l.absent = time.Now(), make(map[int][]merge.Tenure), make(map[int][]cluster.Tenure)
	sources, latest := make(map[string]merge.Source), make(map[int][]cluster.Tenure)
	for _, x := range list {
		sources[x.Log] = x.source
		if len(x.Tenures) == 0 { // it has always been of one owner
			l.tenures[x.Partition] = []merge.Tenure{{Log: x.source}}
		}
		if cluster.Later(x.Tenures, latest[x.Partition]) {
			latest[x.Partition] = x.Tenures
		}
	}
	for p, tenures := range latest {
		if err := l.addArchived(ctx, tenures, sources); err != nil {
			return err
		}
		if l.tenures[p], l.absent[p], err = readable(tenures, sources); err != nil {
			return fmt.Errorf("the tenures of partition %d: %w", p, err)
		}
	}
	return nil
}

// addArchived adds the logs that are in the archive, and were not found elsewhere.
func (l *clusterLogs) addArchived(ctx context.Context, tenures []cluster.Tenure,
	sources map[string]merge.Source) error {
	for _, t := range tenures {
		if l.archive == nil || sources[t.Log] != nil || t.From == t.To {
			continue
		}
		if l.copies[t.Log] == nil {
			files, err := l.archive.Log(ctx, t.Log)
			if err != nil {
				return err
			}
			if len(files) == 0 {
				continue
			}
			if l.copies == nil {
				l.copies = make(map[string]*merge.Archived)
			}
			l.copies[t.Log] = &merge.Archived{Depot: l.archive, Files: files}
		}
		sources[t.Log] = l.copies[t.Log]
	}
	return nil
}

// readable are the tenures whose logs were found. absent are those that were not, or end before the tenure.
func readable(list []cluster.Tenure, sources map[string]merge.Source) (found []merge.Tenure, absent []cluster.Tenure,
	err error) {
	for _, t := range list {
		x := merge.Tenure{Epoch: t.Epoch, Log: sources[t.Log]}
		if x.Log == nil && t.From != t.To {
			absent = append(absent, t)
		}
		if x.From, err = sink.ParsePosition(t.From); err == nil && t.To != "" {
			x.To, err = sink.ParsePosition(t.To)
		}
		if err != nil {
			return nil, nil, err
		}
		if x.Log == nil || x.From == x.To {
			continue
		}
		if copy, ok := x.Log.(*merge.Archived); ok && (t.To == "" || !copy.Files.Has(x.To)) { // what goes on has more
			t.From = copy.Files.Until().String()
			absent = append(absent, t)
		}
		if n := len(found); n > 0 && found[n-1].Epoch == x.Epoch { // it continues a log that was lost
			s := merge.Shifted{Source: x.Log, By: found[n-1].To.Generation}
			x.Log, x.From, x.To = s, s.Shift(x.From), s.Shift(x.To)
		}
		found = append(found, x)
	}
	return found, absent, nil
}

// partitions are those of which something was found, in their order.
func (l *clusterLogs) partitions(ctx context.Context) (all []catPartition, err error) {
	if err := l.look(ctx); err != nil {
		return nil, err
	}
	for p, tenures := range l.tenures {
		if len(tenures) == 0 {
			continue
		}
		more := func(ctx context.Context) ([]merge.Tenure, error) { return l.now(ctx, p) }
		all = append(all, catPartition{number: p, tenures: tenures, more: more})
	}
	slices.SortFunc(all, func(a, b catPartition) int { return cmp.Compare(a.number, b.number) })
	return all, nil
}

// now are the tenures of a partition by now.
func (l *clusterLogs) now(ctx context.Context, p int) ([]merge.Tenure, error) {
	if err := l.look(ctx); err != nil {
		return nil, nil // it is looked again; a log that cannot be read says so itself
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tenures[p], nil
}

// readTenures reads the tenures of a partition from beside the state of its log.
func readTenures(state string) (list []cluster.Tenure, err error) {
	path := filepath.Join(state, tenuresName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read the tenures in %s: %w", path, err)
	}
	return list, nil
}

// localLogs finds the logs of partitions that are on this machine.
type localLogs struct {
	settings *settings // of the cluster
	only     string    // the one partition that is wanted; "": all

	mu       sync.Mutex
	observed map[int]*sink.Sink
}

// find finds them.
func (l *localLogs) find(ctx context.Context) (list []partitionLog, err error) {
	for p := range l.settings.Collector.Cluster.partitions() {
		if l.only != "" && l.only != strconv.Itoa(p) {
			continue
		}
		k, err := l.log(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was never here
		}
		if err != nil {
			return nil, err
		}
		x := partitionLog{Partition: p, Log: k.LogID().String(), Format: k.Format, source: merge.Observed{Sink: k}}
		if x.Tenures, err = readTenures(k.State); err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

// log returns the log of a partition, as it is seen from outside of its collector.
func (l *localLogs) log(ctx context.Context, p int) (*sink.Sink, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.observed[p]; k != nil {
		return k, nil
	}
	own := l.settings.ofPartition(p)
	k, err := sink.Observe(ctx, own.Collector.Log.Path, own.state(), own.Collector.Log.Format)
	if err != nil {
		return nil, err
	}
	if l.observed == nil {
		l.observed = make(map[int]*sink.Sink)
	}
	l.observed[p] = k
	return k, nil
}
