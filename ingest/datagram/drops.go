package datagram

import (
	"fmt"
	"time"
)

// dropCounter follows the kernel's count of datagrams that found no space in the
// receive buffer. The count is the socket's own and exact; asking for it sees drops
// behind the last datagram too, which a count that comes with the next datagram
// (SO_RXQ_OVFL) would not.
type dropCounter struct {
	l       *Listener
	reader  *reader
	address string
	socket  *Shared
}

// watch asks once a second, and a last time when stop is closed.
func (d *dropCounter) watch(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.poll()
		case <-stop:
			d.poll()
			return
		}
	}
}

// poll counts and reports what was dropped since the last poll.
func (d *dropCounter) poll() {
	d.countOverRate(d.l.overRate.Swap(0))
	d.socket.mu.Lock() // the kernel's number grows from one poll to the next
	defer d.socket.mu.Unlock()
	now, err := d.reader.drops()
	if err != nil {
		d.l.limited.Warn("udp_drops", "cannot ask the kernel how many datagrams it dropped",
			"listener", d.address, "error", err)
		return
	}
	d.countKernelLocked(now)
}

// countKernelLocked counts datagrams that the kernel dropped: it has dropped now in all.
func (d *dropCounter) countKernelLocked(now uint32) {
	n := now - d.socket.drops // right across the wrap
	if d.socket.drops = now; n == 0 {
		return
	}
	d.l.metrics.dropped("kernel").Add(float64(n))
	d.l.Log.Warn("the kernel dropped datagrams: its receive buffer was full", "listener", d.address, "datagrams", n,
		"remedy", "send more slowly, or raise read_buffer and "+sysctlLine(2*d.l.ReadBuffer))
	d.l.Notice("LOST n=%d unit=datagrams reason=udp-kernel listener=%s: the kernel's receive buffer was full",
		n, d.address)
}

// countOverRate counts datagrams of addresses that sent more than they may.
func (d *dropCounter) countOverRate(n int64) {
	if n == 0 {
		return
	}
	d.l.metrics.dropped("rate").Add(float64(n))
	d.l.limited.Warn("udp_rate", "datagrams were dropped because their address sends more than max_rate",
		"listener", d.address, "datagrams", n)
	d.l.Notice("LOST n=%d unit=datagrams reason=udp-rate listener=%s: an address sends more than max_rate",
		n, d.address)
}

func sysctlLine(n int) string { return fmt.Sprintf("sysctl -w net.core.rmem_max=%d", n) }
