package scenario

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

// inChains makes the agent send small batches, and so two at a time of each file that is behind.
var inChains = text{agent: "max_line = \"4KiB\"\nbatch_size = \"64KiB\"\n"}

// ChainKills kills the collector, the agent or both, n times, while there are two batches of a stream
// on their way.
func (p *Programs) ChainKills(n int) (*Result, error) {
	return p.chain("chains, kill", n, func(d *day, i int) error { return d.killOnce(i%3 != 1, i%3 != 0) })
}

// ChainCuts cuts the network between agent and collector, n times, at any byte of two batches of a
// stream, or of their answers.
func (p *Programs) ChainCuts(n int) (*Result, error) {
	return p.chain("chains, network cut", n, func(d *day, _ int) error { d.network.Cut(); return nil })
}

func (p *Programs) chain(name string, n int, fault func(d *day, i int) error) (*Result, error) {
	d, err := p.begin(plan{name: name, log: rotating, text: inChains})
	if err != nil {
		return nil, err
	}
	return d.rounds(n, func(i int) error { return d.inChain(func() error { return fault(d, i) }) })
}

// NATSChainDays are ChainKills over NATS: the agent's batches go through a stream, or not. Now and then
// the server is killed.
func NATSChainDays() []NATSDay {
	struck := 0
	fault := func(d *day) error {
		struck++
		return d.inChain(func() error {
			if struck%4 == 3 {
				return d.strikeServer(true, 0)
			}
			return d.killOnce(struck%4 != 1, struck%4 != 0)
		})
	}
	return []NATSDay{
		{Name: "nats-chain", Servers: 1, Text: inChains, Fault: fault},
		{Name: "nats-chain-via", Servers: 1, Text: inChains, Via: true, Fault: fault},
	}
}

var chainedFrames = regexp.MustCompile(`(?m)^fanin_agent_chained_frames_total ([0-9.e+]+)$`)

// inChain does something at a random moment after chains have come.
func (d *day) inChain(fault func() error) error {
	if d.via == "" { // through a stream, the frames do not come from the agent
		before, err := d.chains()
		for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			now, again := d.chains()
			if err = errors.Join(err, again); err != nil {
				return err
			}
			if now > before {
				break
			}
			if time.Now().After(end) {
				return errors.New("no stream has two batches on their way: nothing is tested")
			}
		}
	}
	moment(150 * time.Millisecond)
	return fault()
}

// chains is how many frames came before the answer to the one before them, in this life of the collector.
func (d *day) chains() (n float64, err error) {
	var text string
	if err := d.collector.Ask("GET", "/metrics", &text); err != nil {
		return 0, err
	}
	m := chainedFrames.FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("the collector does not count chains")
	}
	return strconv.ParseFloat(m[1], 64)
}
