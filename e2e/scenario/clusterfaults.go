package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"fanin/e2e/rig"
	"fanin/internal/cluster"
)

// struck is for how long a fault lasts at most: a member may be replaced meanwhile, or may not.
const struck = 3 * clusterTakeover

// faults are all kinds, each of one party.
func (d *clusterDay) faults() []func() error {
	pairs := &deck[link]{all: d.net.pairs()}
	split := func() error {
		pairs.deal().sever(struck)
		return d.nats.Ready(30 * time.Second)
	}
	return []func() error{d.killMember, d.pauseMember, d.cutMember, d.stopMember, d.killServer, d.pauseServer, d.cutServer,
		d.killAgent, d.pauseAgent, d.cutAgent, d.killWorker, d.pauseWorker, split, split}
}

func (d *clusterDay) member() *rig.Member { return d.members[rand.IntN(len(d.members))] }

func (d *clusterDay) agent() *rig.Agent { return d.agents[rand.IntN(len(d.agents))] }

func (d *clusterDay) server() *rig.Process { return d.nats.Servers[rand.IntN(len(d.nats.Servers))] }

func (d *clusterDay) killMember() error {
	m := d.member()
	m.Kill()
	moment(2 * clusterTakeover)
	return m.Start()
}

func (d *clusterDay) pauseMember() error {
	m := d.member()
	m.Pause()
	moment(struck)
	m.Signal(syscall.SIGCONT)
	return nil
}

func (d *clusterDay) cutMember() error {
	link(d.net.members[rand.IntN(len(d.members))]).sever(struck)
	return nil
}

func (d *clusterDay) stopMember() error {
	m := d.member()
	if _, err := m.Stop(); err != nil {
		return err
	}
	return m.Start()
}

func (d *clusterDay) killServer() error {
	s := d.server()
	s.Kill()
	moment(time.Second)
	return errors.Join(s.Start(), d.nats.Ready(30*time.Second))
}

func (d *clusterDay) pauseServer() error {
	s := d.server()
	s.Pause()
	moment(2 * clusterTakeover)
	s.Signal(syscall.SIGCONT)
	return d.nats.Ready(30 * time.Second)
}

func (d *clusterDay) cutServer() error {
	d.net.ofServer(rand.IntN(len(d.nats.Servers))).sever(struck)
	return d.nats.Ready(30 * time.Second)
}

func (d *clusterDay) killAgent() error {
	a := d.agent()
	a.Kill()
	return a.Start()
}

func (d *clusterDay) pauseAgent() error {
	a := d.agent()
	a.Pause()
	moment(time.Second)
	a.Signal(syscall.SIGCONT)
	return nil
}

func (d *clusterDay) cutAgent() error {
	link(d.net.agents[rand.IntN(len(d.agents))]).sever(time.Second)
	return nil
}

// pause pauses a member until the others own its partitions.
func (d *clusterDay) pause() error {
	i := rand.IntN(len(d.members))
	m, other := d.members[i], d.members[(i+1)%len(d.members)]
	id, err := memberID(m)
	if err != nil {
		return err
	}
	m.Pause()
	defer m.Signal(syscall.SIGCONT)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var st cluster.Status
		if err := other.Ask("GET", "/cluster", &st); err != nil {
			continue // it was just started, or waits for NATS
		}
		has := func(p cluster.PartitionStatus) bool { return p.Owner == id || p.Owner == "" }
		if len(st.Partitions) == d.Partitions && !slices.ContainsFunc(st.Partitions, has) {
			return nil
		}
	}
	return fmt.Errorf("the partitions of member %d were not taken over", i)
}

// memberID is the id of a member in its cluster.
func memberID(m *rig.Member) (string, error) {
	id, err := os.ReadFile(filepath.Join(m.State, "member"))
	return strings.TrimSpace(string(id)), err
}

// whileMoving has a fault while partitions move.
func (d *clusterDay) whileMoving(fault func() error) error {
	stop := make(chan struct{})
	var moving sync.WaitGroup
	moving.Go(func() { // ends with the fault
		for {
			d.move()
			select {
			case <-stop:
				return
			case <-time.After(rand.N(time.Second)):
			}
		}
	})
	err := fault()
	close(stop)
	moving.Wait()
	return err
}

// move moves a partition to some member, which may not live, or leaves its place to the cluster again.
func (d *clusterDay) move() {
	to, err := memberID(d.member())
	if err != nil {
		return
	}
	if rand.IntN(4) == 0 {
		to = "auto"
	}
	q := url.Values{"partition": {strconv.Itoa(rand.IntN(d.Partitions))}, "to": {to}}
	d.member().Ask("POST", "/cluster/move?"+q.Encode(), nil) // the member that is asked may be dead
}
