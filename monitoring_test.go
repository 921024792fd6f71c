package fanin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	alertsFile    = "deploy/monitoring/alerts.yml"
	alertsTests   = "deploy/monitoring/alerts_test.yml"
	dashboardFile = "deploy/monitoring/dashboard.json"
)

// promtool runs Prometheus' own checker, which make setup brings.
func promtool(t *testing.T, input string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		program, _ = filepath.Abs("build/peers/usr/bin/promtool")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("not run: there is no promtool (make setup brings it)")
	}
	c := exec.Command(program, args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Each alert fires when its condition has been true for long enough, and none does in two hours of
// normal load, in simulated time.
func TestAlerts(t *testing.T) {
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", alertsFile)
	promtool(t, "", "test", "rules", alertsTests)
}

var (
	alertName   = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
	metricName  = regexp.MustCompile(`\bfanin_\w+`)
	runbookLink = regexp.MustCompile(`(?m)^ +runbook: docs/monitoring\.md#(\w+)$`)
)

// Each alert has a test and a section in the document that it points to; and each metric of an alert
// has a value in the normal load, which otherwise would prove nothing.
func TestAlertsAreTested(t *testing.T) {
	rules, tests := readText(t, alertsFile), readText(t, alertsTests)
	document := readText(t, "docs/monitoring.md")
	names := alertName.FindAllStringSubmatch(rules, -1)
	links := runbookLink.FindAllStringSubmatch(rules, -1)
	if len(names) < 20 || len(names) != len(links) {
		t.Fatalf("%d alerts have %d links to docs/monitoring.md", len(names), len(links))
	}
	for i, m := range names {
		if !strings.Contains(tests, "  - name: "+m[1]+"\n") {
			t.Errorf("%s has no test", m[1])
		}
		if links[i][1] != strings.ToLower(m[1]) || !strings.Contains(document, "\n### "+m[1]+"\n") {
			t.Errorf("%s links to #%s; docs/monitoring.md must have that section", m[1], links[i][1])
		}
	}
	if want := strings.Count(document, "\n### Fanin"); want != len(names) {
		t.Errorf("docs/monitoring.md describes %d alerts of %d", want, len(names))
	}
	_, normal, _ := strings.Cut(tests, "- name: normal load\n")
	for _, name := range metricName.FindAllString(rules, -1) {
		if !strings.Contains(normal, name+"{") {
			t.Errorf("the normal load has no %s", name)
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// panel is what a panel of the dashboard must have; a row has others.
type panel struct {
	ID          int
	Type, Title string
	Description string
	Datasource  struct{ Type, UID string }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ Expr string }
	Panels      []panel
}

// dashboard reads the panels of the dashboard that are no rows.
func dashboard(t *testing.T) (list []panel) {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if list = append(list, p.Panels...); p.Type != "row" {
			list = append(list, p)
		}
	}
	return list
}

// Each panel of the dashboard has a title, a unit and queries, and the data source is a variable.
func TestDashboard(t *testing.T) {
	list, ids := dashboard(t), make(map[int]bool)
	for _, p := range list {
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d (%q) lacks a title, a description, a unit or a query", p.ID, p.Title)
		}
		for _, q := range p.Targets {
			if !strings.Contains(q.Expr, "fanin_") {
				t.Errorf("panel %q: the query %q is about nothing of fanin", p.Title, q.Expr)
			}
		}
		if p.Datasource.Type != "prometheus" || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q: the data source is %+v", p.Title, p.Datasource)
		}
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
	}
	promtool(t, "", "check", "rules", asRules(t, list))
	if len(list) < 15 {
		t.Errorf("only %d panels", len(list))
	}
	var d struct {
		UID        string
		Templating struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	if v := d.Templating.List; d.UID == "" || len(v) == 0 || v[0].Name != "datasource" || v[0].Type != "datasource" {
		t.Errorf("the dashboard %q has the variables %+v", d.UID, v)
	}
}

// Rules, dashboard and document use only metrics, labels and values that programs have which run, and
// promtool has nothing to say about these.
func TestMonitoringNamesMetrics(t *testing.T) {
	dir := startWhole(t)
	ofAgent := scrapeAgent(t, dir)
	ofCollector := scrape(t, dir)
	known := metricsOf(ofCollector)
	maps.Copy(known, metricsOf(ofAgent))
	texts := map[string]string{alertsFile: readText(t, alertsFile), alertsTests: readText(t, alertsTests), "docs/monitoring.md": readText(t, "docs/monitoring.md")}
	for _, p := range dashboard(t) {
		for _, q := range p.Targets {
			texts[dashboardFile+": "+p.Title] += q.Expr + "\n"
		}
	}
	for of, text := range texts {
		for _, name := range metricName.FindAllString(text, -1) {
			if known[name] == nil && (!strings.HasSuffix(name, "_bucket") || known[strings.TrimSuffix(name, "_bucket")] == nil) {
				t.Errorf("%s names %s, which no program has", of, name)
			}
		}
		for _, problem := range strangeLabels(text, known) {
			t.Errorf("%s: %s", of, problem)
		}
	}
	t.Run("promtool", func(t *testing.T) {
		for of, text := range map[string]string{"collector": ofCollector, "agent": ofAgent} {
			if out := promtool(t, text, "check", "metrics"); out != "" {
				t.Errorf("the metrics of the %s: %s", of, out)
			}
		}
	})
}

// asRules writes a file of rules with all queries of panels, as Grafana sends them.
func asRules(t *testing.T, list []panel) (path string) {
	t.Helper()
	text := "groups:\n  - name: dashboard\n    rules:\n"
	for _, p := range list {
		for i, q := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$agent", ".*").Replace(q.Expr)
			text += fmt.Sprintf("      - {record: 'panel_%d:%d', expr: '%s'}\n", p.ID, i, expr)
		}
	}
	path = filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	selector = regexp.MustCompile(`\b(fanin_\w+)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on) \(([^)]*)\)`)
)

// strangeLabels are the labels and values in a text with queries that no metric has.
func strangeLabels(text string, known map[string]*metric) (problems []string) {
	all := map[string]bool{"job": true, "instance": true, "le": true, "alertname": true} // Prometheus' own
	for _, m := range selector.FindAllStringSubmatch(text, -1) {
		of := known[m[1]]
		if of == nil {
			continue
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			values, exact := of.labels[l[1]], l[2] == "=" || l[2] == "!="
			if !all[l[1]] && (values == nil || exact && l[1] != "group" && !values[l[3]]) {
				problems = append(problems, fmt.Sprintf("%s has no %s of %q", m[1], l[1], l[3]))
			}
		}
	}
	for _, m := range known {
		for label := range m.labels {
			all[label] = true
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(text, -1) {
		for label := range strings.SplitSeq(m[1], ", ") {
			if !all[label] {
				problems = append(problems, fmt.Sprintf("no metric has the label %q", label))
			}
		}
	}
	return slices.Compact(problems)
}

// scrapeAgent has a host join the authority of a collector, starts its agent and requests its metrics.
func scrapeAgent(t *testing.T, dir string) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	run := func(input, program string, args ...string) string {
		c := exec.Command(filepath.Join(programDir(t), program), args...)
		c.Stdin = strings.NewReader(input)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
		return string(out)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	token := run("", "fanin-collector", "pki", "invite", "web-1", "--config", at("collector.toml"))
	run(token, "fanin-agent", "join", "-", "--config", at("agent.toml"), "--state", at("agent"), "--user", u.Username)
	config := readText(t, at("agent.toml")) + fmt.Sprintf("\n[agent.http]\nlisten = \"127.0.0.1:0\"\n[agent.journal]\n[[agent.unix]]\npath = %q\n[[agent.file]]\npaths = [%q]\n", at("agent.sock"), at("app.log"))
	// No entries, but a journal: its metrics are there all the same.
	if err := os.WriteFile(at("journalctl"), []byte("#!/bin/sh\necho systemd 252\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("agent.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	appendFile(t, at("app.log"), "hello\n")
	c := exec.Command(filepath.Join(programDir(t), "fanin-agent"), "--config", at("agent.toml"))
	c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	a := start(t, c)
	address := a.wait("^listening http (.*)")
	awaitLine(t, at("all.log"), "hello")
	return get(t, http.DefaultClient, "http://"+address+"/metrics")
}
