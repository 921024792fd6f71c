package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanin/internal/pki"
)

// Describe sends nothing: what is collected describes itself.
func (f *fleet) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the authority, if there is one.
func (f *fleet) Collect(out chan<- prometheus.Metric) {
	a := f.own()
	if a == nil {
		return
	}
	l := a.List()
	gauge := func(name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), prometheus.GaugeValue, value,
			values...)
	}
	const expiry, expiryHelp = "fanin_certificate_expiry_timestamp_seconds", "When certificates of the collector's " +
		"authority expire, in seconds since 1970: its own, the collector's, and the one of a host that expires first."
	gauge(expiry, expiryHelp, seconds(l.Authorities[0].Expires), "of", "authority")
	gauge(expiry, expiryHelp, seconds(l.Server.Expires), "of", "collector")
	states := map[string]int{pki.Valid: 0, pki.Expired: 0, pki.Stopped: 0}
	var first time.Time
	for _, h := range l.Hosts {
		states[h.State]++
		if h.State == pki.Valid && (first.IsZero() || h.Expires.Before(first)) {
			first = h.Expires
		}
	}
	if !first.IsZero() {
		gauge(expiry, expiryHelp, seconds(first), "of", "host")
	}
	for state, n := range states {
		gauge("fanin_certificate_hosts", "Hosts, by the state of their newest certificate.", float64(n), "state", state)
	}
	open := 0
	for _, i := range l.Invitations {
		if i.State == pki.Unused {
			open++
		}
	}
	gauge("fanin_certificate_invitations", "Invitations that are open.", float64(open))
}

func seconds(t time.Time) float64 { return float64(t.Unix()) }
