package scenario

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"fanin/e2e/rig"
)

// clusterNet is the network of a cluster: every party is connected to every server by a link of its
// own, and so are the servers.
type clusterNet struct {
	members, agents [][]*rig.Cuts // of each, to each server
	routes          [][]*rig.Cuts // from each server to each; nil: to itself
}

// link is what is between two parties, in both directions.
type link []*rig.Cuts

// connect makes the links of one party to all servers, and returns where it finds these.
func connect(servers *rig.NATS) (cuts []*rig.Cuts, url string, err error) {
	var urls []string
	for u := range strings.SplitSeq(servers.URL, ",") {
		c, err := rig.NewCuts(strings.TrimPrefix(u, "nats://"))
		if err != nil {
			return nil, "", err
		}
		cuts, urls = append(cuts, c), append(urls, "nats://"+c.Addr)
	}
	return cuts, strings.Join(urls, ","), nil
}

// pairs are the links of each two servers, and of each member and each server.
func (n *clusterNet) pairs() (all []link) {
	for i := range n.routes {
		for j := range i {
			all = append(all, link{n.routes[i][j], n.routes[j][i]})
		}
	}
	for _, cuts := range n.members {
		for _, c := range cuts {
			all = append(all, link{c})
		}
	}
	return all
}

// ofServer is all that connects a server: to the other servers, and to its clients.
func (n *clusterNet) ofServer(i int) (l link) {
	for j := range n.routes {
		if i != j {
			l = append(l, n.routes[i][j], n.routes[j][i])
		}
	}
	for _, cuts := range slices.Concat(n.members, n.agents) {
		l = append(l, cuts[i])
	}
	return l
}

// sever severs a link, in one of three ways. It holds again after a moment.
func (l link) sever(most time.Duration) {
	way := rand.IntN(5)
	for _, c := range l {
		switch way {
		case 0:
			c.Cut()
		case 1, 2:
			c.Refuse()
		default:
			c.Hush()
		}
	}
	if way == 0 {
		return
	}
	moment(most)
	for _, c := range l {
		if way == 3 { // what was on its way never arrives
			c.Cut()
		}
		c.Heal()
	}
}

func (n *clusterNet) close() {
	for _, cuts := range slices.Concat(n.members, n.agents) {
		for _, c := range cuts {
			c.Close()
		}
	}
}
