package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Listener is a port of the configuration.
type Listener struct {
	Where, Network, Address string // Where is its key
	TLS                     bool
}

// Plain finds ports beyond loopback whose lines anyone on the network can read and write.
func Plain(listeners []Listener) (found []Finding) {
	for _, l := range listeners {
		host, _, err := net.SplitHostPort(l.Address)
		ip, _ := netip.ParseAddr(host)
		if err != nil || l.TLS || host == "localhost" || ip.IsLoopback() {
			continue
		}
		remedy := `give it tls = {cert = "...", key = "...", client_ca = "..."}, or use fanin-collector pki init`
		if l.Network == "udp" {
			remedy = `udp has no TLS: limit who may send with allow = ["NETWORK"], or use tcp`
		}
		found = append(found, risk(l.Where, remedy, fmt.Sprintf("%s %s can be reached from other machines and is not "+
			"encrypted", l.Network, l.Address))...)
	}
	return found
}

// Certificate is a certificate file and its validity.
type Certificate struct {
	Where        string
	Since, Until time.Time
}

// Expiry judges how long certificates that are valid now will be. That is long enough for 30
// days, or for a third of a life that is shorter than 90 days.
func Expiry(now time.Time, list []Certificate) (found []Finding) {
	for _, c := range list {
		left := c.Until.Sub(now)
		if left > 0 && left < min(30*24*time.Hour, c.Until.Sub(c.Since)/3) {
			found = append(found, risk(c.Where, "renew it; the programs read a new file by themselves",
				fmt.Sprintf("the certificate expires on %s, in %s", c.Until.Format(time.DateOnly), days(left)))...)
		}
	}
	return found
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Hour).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Reach tries addresses of the collector: resolve finds a host's name, dial connects, and
// returns an error that says what did not work.
func Reach(addresses []string, resolve, dial func(address string) error) (found []Finding) {
	for _, a := range addresses {
		err, remedy := resolve(a), "correct the name in agent.to, or its entry in DNS or /etc/hosts"
		if err == nil {
			err, remedy = dial(a), "look at the collector there (fanin-collector doctor), and at firewalls between"
			if err != nil && strings.Contains(err.Error(), "certificate") {
				remedy = "compare agent.tls with the certificates of the collector: docs/certificates.md"
			}
		}
		if err != nil {
			found = append(found, wrong(a, remedy, fmt.Sprintf("the collector cannot be reached: %v", err))...)
		}
	}
	return found
}
