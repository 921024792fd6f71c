package ingest

import (
	"fmt"
	"time"
)

// dropCounter follows the kernel's count of datagrams that found no space in
// the receive buffer. The count is the socket's own and exact; asking for it
// sees drops behind the last datagram too, which a count that rides on the next
// datagram (SO_RXQ_OVFL) would not.
type dropCounter struct {
	u      *UDP
	reader *datagramReader
	listen string
	last   uint32 // as the kernel counts, modulo 2^32
}

// watch looks once a second, and a last time when stop is closed.
func (d *dropCounter) watch(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.look()
		case <-stop:
			d.look()
			return
		}
	}
}

// look counts and says what was dropped since it looked last.
func (d *dropCounter) look() {
	d.countOverRate(d.u.overRate.Swap(0))
	now, err := d.reader.drops()
	if err != nil {
		d.u.limited.Warn("udp_drops", "cannot ask the kernel how many datagrams it dropped", "listener", d.listen, "error", err)
		return
	}
	d.count(now)
}

// count takes the kernel's count.
func (d *dropCounter) count(now uint32) {
	n := now - d.last // right across the wrap
	if d.last = now; n == 0 {
		return
	}
	d.u.Metrics.kernelDrops.Add(float64(n))
	d.u.Log.Warn("the kernel dropped datagrams: its receive buffer was full", "listener", d.listen, "datagrams", n,
		"remedy", "send more slowly, or raise read_buffer and "+sysctlLine(2*d.u.ReadBuffer))
	d.u.Notice("LOST n=%d unit=datagrams reason=udp-kernel listener=%s: the kernel's receive buffer was full", n, d.listen)
}

// countOverRate counts datagrams of addresses that sent more than they may.
func (d *dropCounter) countOverRate(n int64) {
	if n == 0 {
		return
	}
	d.u.Metrics.overRate.Add(float64(n))
	d.u.limited.Warn("udp_rate", "datagrams were dropped because their address sends more than max_rate", "listener", d.listen, "datagrams", n)
	d.u.Notice("LOST n=%d unit=datagrams reason=udp-rate listener=%s: an address sends more than max_rate", n, d.listen)
}

func sysctlLine(n int) string { return fmt.Sprintf("sysctl -w net.core.rmem_max=%d", n) }
