package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium finds the browser.
func chromium() string {
	for _, name := range []string{os.Getenv("FANIN_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	return ""
}

// startBrowser starts the browser, for a test and its parts.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path := chromium()
	if path == "" {
		t.Skip("not run: there is no Chromium; make setup installs it as root, or set FANIN_CHROMIUM")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.WSURLReadTimeout(*patience), chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	alloc, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, end2 := chromedp.NewContext(alloc)
	t.Cleanup(end2)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// tab is an open page of a collector.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu  sync.Mutex
	bad []string // exceptions of scripts
}

// spy counts what the policy refused, before the page's own script runs.
const spy = `window.violations = [];
document.addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample));
window.alert = window.confirm = window.prompt = () => violations.push('a script of the log was run');`

// open opens a path of the collector in a tab of its own, with a profile of its own.
func open(t *testing.T, browser context.Context, c *collector, path string, width, height int64) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	p := &tab{t: t, ctx: ctx, url: "http://" + c.http}
	if err := chromedp.Listen(ctx, p.event); err != nil {
		t.Fatal(err)
	}
	call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: spy})
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height,
		DeviceScaleFactor: 1, Mobile: width < 500})
	p.do(chromedp.Navigate(p.url + path))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, text := range p.bad {
			t.Errorf("a script failed: %s", text)
		}
	})
	return p
}

func (p *tab) event(ev any) {
	if e, ok := ev.(*runtime.EventExceptionThrown); ok {
		text := fmt.Sprint(e.ExceptionDetails.Text, " line ", e.ExceptionDetails.LineNumber+1)
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		p.mu.Lock()
		p.bad = append(p.bad, text)
		p.mu.Unlock()
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	r, err := chromedp.Call(p.ctx, command, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// eval evaluates an expression to a value.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%v: %s", err, expression)
	}
	return v
}

// until waits until an expression is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	wait(p.t, expression, func() bool {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return ok && err == nil // an error: the page is being left
	}, p.explain)
}

// keys presses keys, one after the other.
func (p *tab) keys(keys ...string) {
	p.t.Helper()
	names := map[string]string{"Enter": "\r", "Escape": "\u001b", "Tab": "\t", "ArrowLeft": "\u0302", "ArrowRight": "\u0303"}
	for _, k := range keys {
		var options []chromedp.KeyOption
		if rest, ok := strings.CutPrefix(k, "Shift+"); ok {
			k, options = rest, []chromedp.KeyOption{chromedp.KeyModifiers(chromedp.ModifierShift)}
		}
		if name, ok := names[k]; ok {
			k = name
		}
		p.do(chromedp.KeyEvent(k, options...))
	}
}

// lines are the texts of the rows in the document.
func (p *tab) lines() []string {
	p.t.Helper()
	return eval[[]string](p, `[...document.querySelectorAll('#list .row .b')].map(e => e.textContent)`)
}

// clean fails the test if the policy was violated.
func (p *tab) clean() {
	p.t.Helper()
	if v := eval[[]string](p, "window.violations"); len(v) > 0 {
		p.t.Errorf("the policy was violated: %q", v)
	}
}

// explain is what the page says about itself, for a test that waited in vain.
func (p *tab) explain() string {
	return eval[string](p, `document.body.innerText.slice(0, 300) + ['health-text', 'trouble', 'mode', 'count', 'jump', 'empty', 'chart-note'].map(id => id + ': ' + document.getElementById(id)?.textContent).join('\n') + '\n' + [...document.querySelectorAll('#list > *')].slice(-5).map(e => e.textContent).join('\n')`)
}
