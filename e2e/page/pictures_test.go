package page

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// story are lines as a few hosts write them.
func story() (lines []string) {
	paths := []string{"/", "/api/orders?page=2", "/api/items/4711", "/assets/app.js", "/login", "/api/cart", "/healthz"}
	add := func(host, source, format string, args ...any) {
		lines = append(lines, syslog(host, source, fmt.Sprintf(format, args...)))
	}
	for i := range 240 {
		status := 200
		if i%17 == 3 {
			status = 404
		}
		if i%61 == 40 {
			status = 502
		}
		add(fmt.Sprintf("web-%d", 1+i%3), "nginx", `192.0.2.%d "GET %s HTTP/1.1" %d %d %.3f`, 10+i*7%90, paths[i*5%7], status, 180+i*977%9000, float64(i*37%400)/1000)
		switch i % 6 {
		case 1:
			add("db-1", "postgres", "duration: %d.%03d ms  statement: SELECT id, total FROM orders WHERE customer = $1", i*13%90, i*371%1000)
		case 3:
			add("web-1", "app", `level=info msg="order placed" order=%d items=%d ms=%d`, 90000+i, 1+i%5, 12+i*7%80)
		}
		switch i % 40 {
		case 12:
			add("db-1", "postgres", "ERROR:  deadlock detected")
			add("web-2", "app", `level=error msg="payment failed" order=%d err="upstream timed out after 3s"`, 90000+i)
		case 25:
			add("edge-1", "sshd", "Failed password for invalid user admin from 192.0.2.%d port 4%03d ssh2", 200+i%40, i)
		case 31:
			add("web-3", "app", `level=warn msg="queue is long" depth=%d`, 400+i)
		}
	}
	return lines
}

// TestPictures makes the pictures of the documents, and of everything else that is worth to look at.
func TestPictures(t *testing.T) {
	c := newCollector(t, "[collector.work]\nlisten = \"127.0.0.1:0\"")
	browser := startBrowser(t)
	startFleet(t, c)
	for _, scheme := range []string{"light", "dark"} {
		p := open(t, browser, c, "/", 1280, 760)
		p.scheme(scheme)
		p.until(`document.querySelectorAll('#list .row').length > 100`)
		p.picture("page-live-" + scheme)
		p.keys("k", "k", "k", "k", "Enter")
		p.until(`document.getElementById('pause').textContent === 'Continue'`)
		p.picture("page-line-" + scheme)
		for _, view := range []string{"agents", "groups", "inputs", "log"} {
			p.do(chromedp.Navigate(p.url + "/?view=" + view))
			p.until(`document.querySelector('#tables h2')`)
			p.picture("page-" + view + "-" + scheme)
		}
		p.do(chromedp.Navigate(p.url + "/?from=start&include=(%3Fi)error&exclude=timed"))
		p.until(`/complete/.test(document.getElementById('mode').textContent)`)
		p.picture("page-search-" + scheme)
		p.keys("?")
		p.picture("page-help-" + scheme)
		q := open(t, browser, c, "/", 360, 740)
		q.scheme(scheme)
		q.until(`document.querySelectorAll('#list .row').length > 100`)
		q.picture("page-phone-" + scheme)
		for _, view := range []string{"agents", "groups", "inputs", "log"} {
			q.do(chromedp.Navigate(q.url + "/?view=" + view))
			q.until(`document.querySelector('#tables h2')`)
			q.picture("page-phone-" + view + "-" + scheme)
		}
	}
}

func (p *tab) picture(name string) {
	p.t.Helper()
	eval[any](p, `new Promise(done => setTimeout(done, 300)).then(() => true)`)
	shot(p, name+".png")
}
