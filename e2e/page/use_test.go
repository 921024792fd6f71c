package page

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// search is the query of the page's address.
func (p *tab) search() url.Values {
	p.t.Helper()
	v, err := url.ParseQuery(strings.TrimPrefix(eval[string](p, "location.search"), "?"))
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// contiguous fails the test if the lines in the document are not numbered one after the other.
func (p *tab) contiguous() (first, last int) {
	p.t.Helper()
	shown := p.lines()
	if len(shown) == 0 {
		p.t.Fatal("no lines are shown")
	}
	for i := 1; i < len(shown); i++ {
		if number(p.t, shown[i]) != number(p.t, shown[i-1])+1 {
			p.t.Errorf("%q follows %q", shown[i], shown[i-1])
		}
	}
	return number(p.t, shown[0]), number(p.t, shown[len(shown)-1])
}

const rows = `document.querySelectorAll('#list .row').length`

// Filters are in the URL: they come from it, go into it, and Back takes them away.
func TestURL(t *testing.T) {
	c := newCollector(t, "")
	c.send(numbered(0, 90)...)
	p := open(t, startBrowser(t), c, "/?host=web-*&exclude=7$&exclude=8$", 1200, 800)
	p.until(rows + ` === 72`)
	if n := eval[int](p, `document.querySelectorAll('.chip').length`); n != 3 {
		t.Errorf("%d chips", n)
	}
	p.keys("s")
	p.until(`document.activeElement.id === 'text' && document.getElementById('kind').value === 'source'`)
	eval[any](p, `document.activeElement.value = ''`) // the driver types a key even where the page forbids it
	p.keys("n", "g", "i", "n", "x", "Enter")
	p.until(rows + ` === 24`)
	if q := p.search(); fmt.Sprint(q) != "map[exclude:[7$ 8$] host:[web-*] source:[nginx]]" {
		t.Errorf("the URL has %v", q)
	}
	p.do(chromedp.Reload())
	p.until(rows + ` === 24`)
	p.do(chromedp.NavigateBack())
	p.until(rows + ` === 72`)
	p.do(chromedp.Click(".chip.exclude button"))
	p.until(rows + ` === 81`)
	// A wrong expression is said to be one.
	p.do(chromedp.Navigate(p.url + "/?include=(("))
	p.until(`/The collector says: .*missing/.test(document.getElementById('empty').textContent)`)
	p.clean()
}

// Everything can be done with the keyboard.
func TestKeyboard(t *testing.T) {
	c := newCollector(t, "")
	c.send(numbered(0, 300)...)
	p := open(t, startBrowser(t), c, "/", 1200, 800)
	p.until(rows + ` === 300 && document.getElementById('chart').hidden === false`)
	reached := make(map[string]bool)
	for range 40 {
		p.keys("Tab")
		id := eval[string](p, `document.activeElement.id || document.activeElement.textContent`)
		reached[id] = true
		if !eval[bool](p, `document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none'`) {
			t.Errorf("the focus on %q cannot be seen", id)
		}
	}
	for _, id := range []string{"Lines", "Disk", "theme", "help-open", "range", "kind", "text", "pause", "wrap", "utc", "canvas", "list"} {
		if !reached[id] {
			t.Errorf("Tab does not reach %s", id)
		}
	}
	eval[any](p, `document.getElementById('list').focus()`)
	p.keys("k", "k", "k", "Shift+K", "Shift+K")
	p.until(`document.querySelectorAll('#list [aria-selected=true]').length === 3`)
	p.keys("Enter")
	p.until(`!document.getElementById('detail').hidden`)
	if text := eval[string](p, `document.getElementById('full').textContent`); text != "line 0000295" {
		t.Errorf("opened %q", text)
	}
	p.keys("c")
	p.until(`/^#at=1:\d+$/.test(location.hash) && document.querySelector('.row.at')`)
	if text := eval[string](p, `document.querySelector('.row.at .b').textContent`); text != "line 0000295" {
		t.Errorf("around %q", text)
	}
	p.keys("Escape", "Escape")
	p.until(`location.hash === '' && ` + rows + ` === 300`)
	p.keys("?")
	p.until(`document.getElementById('help').open`)
	p.keys("Escape")
	p.until(`!document.getElementById('help').open`)
	for key, view := range map[string]string{"2": "agents", "3": "groups", "4": "inputs", "5": "log"} {
		p.keys(key)
		p.until(`document.querySelector('nav [aria-current]').dataset.view === '` + view + `' && document.querySelector('#tables h2')`)
	}
	p.keys("1")
	p.until(rows + ` === 300`)
	// The histogram: choose two bars at the end, and zoom.
	eval[any](p, `document.getElementById('canvas').focus()`)
	p.keys("ArrowLeft", "ArrowRight", "Shift+ArrowLeft", "Enter")
	p.until(`/from=.*to=/.test(location.search)`)
	q := p.search()
	if !strings.HasSuffix(q.Get("from"), ":00Z") || !strings.HasSuffix(q.Get("to"), ":00Z") {
		t.Errorf("zoomed to %v", q)
	}
	p.until(`/complete/.test(document.getElementById('mode').textContent)`)
	p.clean()
}

// A search reads all of the history, a part at a time, and shows each line once.
func TestSearch(t *testing.T) {
	c := newCollector(t, "rotate_size = \"64KiB\"")
	const n = 4000
	c.send(numbered(0, n)...)
	wait(t, "the log has all", func() bool { return strings.Count(c.has("line"), "\ndata: ") == n })
	p := open(t, startBrowser(t), c, "/?from=start&include=line", 1200, 800)
	p.until(`/more below/.test(document.getElementById('mode').textContent)`)
	if first, _ := p.contiguous(); first != 0 {
		t.Errorf("it begins with line %d", first)
	}
	wait(t, "the end", func() bool {
		eval[any](p, `document.getElementById('list').scrollTop = 1e9`)
		_, last := p.contiguous()
		return last == n-1
	}, p.explain)
	if n := eval[int](p, rows); n > 400 {
		t.Errorf("%d rows in the document", n)
	}
	wait(t, "the start again", func() bool {
		eval[any](p, `document.getElementById('list').scrollTop = 0`)
		first, _ := p.contiguous()
		return first == 0
	}, p.explain)
	p.clean()
}

// A link to a place shows the lines around it, and more of them in both directions, over the
// borders of files.
func TestContext(t *testing.T) {
	c := newCollector(t, "rotate_size = \"64KiB\"")
	const n, middle = 4000, 2000
	c.send(numbered(0, n)...)
	wait(t, "the log has all", func() bool { return strings.Count(c.has("line"), "\ndata: ") == n })
	b, err := c.get(fmt.Sprintf("/tail?from=start&follow=0&format=json&include=%07d", middle))
	if err != nil {
		t.Fatal(err)
	}
	at := regexp.MustCompile(`"position":"([^"]+)"`).FindStringSubmatch(b)[1]
	p := open(t, startBrowser(t), c, "/#at="+at, 1200, 800)
	p.until(`document.querySelector('.row.at')`)
	if text := eval[string](p, `document.querySelector('.row.at .b').textContent`); number(t, text) != middle {
		t.Errorf("the link leads to %q", text)
	}
	wait(t, "the first line", func() bool {
		eval[any](p, `(l => { l.scrollTop = 500; l.scrollTop = 0; })(document.getElementById('list'))`)
		first, _ := p.contiguous()
		return first == 0
	}, p.explain)
	wait(t, "the last line", func() bool {
		eval[any](p, `document.getElementById('list').scrollTop = 1e9`)
		_, last := p.contiguous()
		return last == n-1
	}, p.explain)
	p.keys("Escape")
	p.until(`document.getElementById('mode').textContent === 'Live'`)
	p.clean()
}

// The links of the menu download what is selected, or what matches.
func TestDownload(t *testing.T) {
	c := newCollector(t, "")
	c.send(numbered(0, 90)...)
	p := open(t, startBrowser(t), c, "/?from=start&source=app", 1200, 800)
	p.until(rows + ` === 30`)
	download := func() string {
		t.Helper()
		eval[any](p, `document.querySelectorAll('.menu a').forEach(a => a.removeAttribute('href'))`) // those of the last time
		p.do(chromedp.Click("summary"))
		p.until(`document.querySelector('.menu a').getAttribute('href')`)
		text, err := c.get("/" + eval[string](p, `document.querySelector('.menu a[data-format=body]').getAttribute('href')`))
		if err != nil {
			t.Fatal(err)
		}
		p.keys("Escape")
		return text
	}
	if text := download(); strings.Count(text, "\n") != 30 || !strings.HasPrefix(text, "line 0000001\n") {
		t.Errorf("downloaded %q", text)
	}
	p.keys("g", "j", "Shift+J", "Shift+J")
	if text := download(); text != "line 0000004\nline 0000007\nline 0000010\n" {
		t.Errorf("downloaded %q of three selected lines", text)
	}
}

// A hidden page holds no connection. Seen again, it goes on where it was.
func TestHidden(t *testing.T) {
	c := newCollector(t, "")
	c.send(numbered(0, 10)...)
	p := open(t, startBrowser(t), c, "/", 1200, 800)
	p.until(rows + ` === 10`)
	hide := func(hidden bool) {
		eval[any](p, fmt.Sprintf(`Object.defineProperty(document, 'hidden', {configurable: true, value: %v}); document.dispatchEvent(new Event('visibilitychange'))`, hidden))
	}
	watchers := func(n int) {
		t.Helper()
		wait(t, fmt.Sprint(n, " watchers"), func() bool {
			text, err := c.get("/metrics")
			return err == nil && strings.Contains(text, fmt.Sprintf("\nfanin_tail_watchers %d\n", n))
		})
	}
	watchers(1)
	hide(true)
	watchers(0)
	c.send(numbered(10, 100)...)
	hide(false)
	p.until(rows + ` === 110`)
	p.contiguous()
	watchers(1)
}

// scripted is a collector whose live tail is what a test says.
func scripted(t *testing.T, c *collector, tail http.HandlerFunc) *collector {
	to, err := url.Parse("http://" + c.http)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(to))
	mux.HandleFunc("/tail", tail)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return &collector{t: t, http: s.Listener.Addr().String()}
}

// What the collector skips is shown, with a way to it; and what it refuses, with its reason.
func TestSkipped(t *testing.T) {
	c := newCollector(t, "")
	c.send(numbered(0, 10)...)
	tries := make(chan string, 100)
	s := scripted(t, c, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") == "0" {
			tries <- r.URL.RawQuery
			io.WriteString(w, "event: end\nid: 1:900\ndata:\n\n")
			return
		}
		if r.Header.Get("Last-Event-ID") == "" {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "id: 1:50\ndata: {\"position\":\"1:0\",\"body\":\"line 1\"}\n\n"+
				"event: skipped\nid: 1:900\ndata: {\"from\":\"1:50\",\"to\":\"1:900\",\"lines\":1234,\"exact\":true}\n\n"+
				"id: 1:950\ndata: {\"position\":\"1:900\",\"body\":\"line 2\"}\n\nid: 1:99")
			return // the connection ends within an event: this event counts for nothing
		}
		tries <- r.Header.Get("Last-Event-ID")
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many watchers", http.StatusServiceUnavailable)
	})
	p := open(t, startBrowser(t), s, "/", 1200, 800)
	p.until(`/Skipped 1,234 lines/.test(document.getElementById('list').textContent)`)
	p.until(`/The collector says: too many watchers; trying again in 1 s/.test(document.getElementById('trouble').textContent)`)
	if at := <-tries; at != "1:950" {
		t.Errorf("the page resumes at %q", at)
	}
	p.do(chromedp.Click(".note.go"))
	p.until(`/complete/.test(document.getElementById('mode').textContent)`)
	for {
		if q := <-tries; strings.Contains(q, "follow=0") {
			if v, _ := url.ParseQuery(q); v.Get("from") != "1:50" || v.Get("to") != "1:900" {
				t.Errorf("the skipped lines were asked for with %s", q)
			}
			break
		}
	}
	p.clean()
}

// Without a login the page leads to the form, and back to the place of the link.
func TestLogin(t *testing.T) {
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(t.TempDir(), "readers")
	out, err := exec.Command(filepath.Join(dir, "fanin-collector"), "token", "reader", "--add", tokens).Output()
	if err != nil {
		t.Fatal(err)
	}
	c := newCollector(t, fmt.Sprintf("[[collector.access]]\nrole = \"read\"\ntokens_file = %q", tokens))
	c.send(numbered(0, 10)...)
	p := open(t, startBrowser(t), c, "/#at=1:0", 1200, 800)
	p.until(`location.pathname === '/login' && document.activeElement.id === 'token'`)
	p.do(chromedp.SendKeys("#token", strings.TrimSpace(string(out))+"\r"))
	p.until(`location.hash === '#at=1:0' && document.querySelector('.row.at') && !document.getElementById('logout').hidden`)
	if who := eval[string](p, `document.getElementById('who').textContent`); who != "reader" {
		t.Errorf("logged in as %q", who)
	}
	p.clean()
	p.do(chromedp.Click("#logout button"))
	p.until(`location.pathname === '/login'`)
}
