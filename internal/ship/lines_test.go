package ship

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"
)

// webLines are lines of a web server's log, with addresses, paths, times, sizes and request ids as
// they occur: about 230 bytes each.
func webLines(n int) (text []byte, lines int) {
	r := rand.New(rand.NewPCG(1, 2))
	agents := []string{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"curl/8.5.0", "Prometheus/2.53.0", "kube-probe/1.30"}
	paths := []string{"/api/v1/orders", "/api/v1/users", "/static/app.js", "/healthz", "/metrics", "/api/v2/search"}
	codes := []int{200, 200, 200, 200, 201, 204, 304, 404, 500}
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	for b.Len() < n {
		at = at.Add(time.Duration(r.IntN(3000)) * time.Microsecond)
		fmt.Fprintf(&b, "192.0.2.%d - - [%s] \"GET %s/%d?page=%d HTTP/1.1\" %d %d \"-\" %q rt=0.%03d id=%016x%016x\n",
			r.IntN(256), at.Format("02/Jan/2006:15:04:05 -0700"), paths[r.IntN(len(paths))], r.IntN(100_000), r.IntN(50),
			codes[r.IntN(len(codes))], r.IntN(40_000), agents[r.IntN(len(agents))], r.IntN(1000), r.Uint64(), r.Uint64())
		lines++
	}
	return b.Bytes(), lines
}

// appLines are lines of a service's own log, as key=value pairs, about 150 bytes each.
func appLines(n int) (text []byte, lines int) {
	r := rand.New(rand.NewPCG(3, 4))
	levels := []string{"info", "info", "info", "debug", "warn", "error"}
	messages := []string{"request served", "cache miss", "connection accepted", "retrying after an error", "job finished"}
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	for b.Len() < n {
		at = at.Add(time.Duration(r.IntN(3000)) * time.Microsecond)
		fmt.Fprintf(&b, "time=%s level=%s msg=%q service=orders pod=orders-7c9d%02x user=%d order=%d took=%dms\n",
			at.Format(time.RFC3339Nano), levels[r.IntN(len(levels))], messages[r.IntN(len(messages))], r.IntN(16),
			r.IntN(1_000_000), r.IntN(10_000_000), r.IntN(500))
		lines++
	}
	return b.Bytes(), lines
}
