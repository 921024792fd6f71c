package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fanin/e2e/check"
	"fanin/internal/cluster"
	"fanin/sink"
)

// union writes the lines of each partition to a file, by its tenures.
func (d *clusterDay) union() (files []string, err error) {
	err = d.withStreams(func(ctx context.Context, js jetstream.JetStream) error {
		kv, err := js.KeyValue(ctx, "fanin-"+natsStream)
		if err != nil {
			return err
		}
		for p := range d.Partitions {
			e, err := kv.Get(ctx, "tenures."+strconv.Itoa(p))
			if err != nil {
				return fmt.Errorf("tenures of partition %d: %w", p, err)
			}
			var tenures []cluster.Tenure
			if err := json.Unmarshal(e.Value(), &tenures); err != nil {
				return err
			}
			d.tenures[p] = tenures
			path := filepath.Join(d.dir, fmt.Sprintf("partition%d", p))
			if err := check.Tenures(path, tenures, d.logs(p)); err != nil {
				return fmt.Errorf("partition %d: %w\n%s", p, err, e.Value())
			}
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// emptied waits until the members have acknowledged all that the stream had.
func (d *clusterDay) emptied(patience time.Duration) error {
	return d.withStreams(func(ctx context.Context, js jetstream.JetStream) error {
		left := uint64(0)
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			s, err := js.Stream(ctx, natsStream)
			if err != nil {
				return err
			}
			if left = s.CachedInfo().State.Msgs; d.Archive {
				left = unread(ctx, s)
			}
			if left == 0 {
				return nil
			}
		}
		return fmt.Errorf("%d messages are in the stream still", left)
	})
}

// unread is how many messages are not acknowledged of a stream that keeps them.
func unread(ctx context.Context, s jetstream.Stream) (left uint64) {
	for c := range s.ListConsumers(ctx).Info() {
		left += c.NumPending + uint64(c.NumAckPending)
	}
	return left
}

// withStreams does something with the servers' streams, in two minutes at most.
func (d *clusterDay) withStreams(do func(context.Context, jetstream.JetStream) error) error {
	nc, err := d.nats.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return do(ctx, js)
}

// logs are all logs of a partition, by their ids.
func (d *clusterDay) logs(p int) map[string]check.Place {
	all := make(map[string]check.Place)
	for _, m := range d.members {
		var at check.Place
		at.Log, at.State = m.Partition(p)
		if id, err := at.ID(); err == nil {
			all[id] = at
		}
	}
	return all
}

// raw are all files of all logs, as they are.
func (d *clusterDay) raw() (files []string, err error) {
	for p := range d.Partitions {
		for _, at := range d.logs(p) {
			generations, err := sink.Generations(at.Log, at.State)
			if err != nil {
				return nil, err
			}
			for _, g := range generations {
				if g.Name != "" {
					files = append(files, filepath.Join(filepath.Dir(at.Log), g.Name))
				}
			}
		}
	}
	return files, nil
}

// printed writes what `cat` prints of all members to a file. It asks them over HTTP.
func (d *clusterDay) printed() (path string, err error) {
	path = filepath.Join(d.dir, "printed")
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	args := append([]string{"cat"}, d.members[0].Args...) // with the archive
	for _, u := range d.urls {
		args = append(args, "--url", u)
	}
	c := exec.Command(d.members[0].Path, args...)
	errs, err := os.Create(path + ".errors")
	if err != nil {
		return "", errors.Join(err, out.Close())
	}
	c.Stdout, c.Stderr = out, errs
	err = errors.Join(c.Run(), out.Close(), errs.Close())
	if words, rerr := os.ReadFile(path + ".errors"); err != nil || len(words) > 0 {
		return "", fmt.Errorf("cat: %w\n%s", errors.Join(err, rerr, errors.New("it says something")), words)
	}
	return path, nil
}
