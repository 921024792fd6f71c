package collector

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanin/internal/daemon"
	"fanin/internal/doctor"
)

// examined is what doctor finds for a configuration, and its exit code.
func examined(t *testing.T, text string) (doctor.Report, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "collector.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := (&options{config: path, json: true}).doctor(t.Context(), &out)
	var r doctor.Report
	if jerr := json.Unmarshal([]byte(out.String()), &r); jerr != nil {
		t.Fatalf("%v: %s", jerr, out.String())
	}
	code := 0
	if err != nil {
		code = daemon.Code(err)
	}
	return r, code
}

// of is what a check found, as levels.
func of(r doctor.Report, check string) (levels []doctor.Level) {
	for _, f := range r {
		if f.Check == check {
			levels = append(levels, f.Level)
		}
	}
	return levels
}

// Doctor runs every check of a configuration, and its exit code tells what is wrong from what is
// risky.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	log := "[collector]\nstate = \"" + dir + "/state\"\n[collector.log]\npath = \"" + dir + "/all.log\"\n"
	r, _ := examined(t, log+"[[collector.tcp]]\nlisten = \"0.0.0.0:0\"\ninsecure = true\n")
	if got := of(r, "ports"); len(got) != 1 || got[0] != doctor.Risk {
		t.Errorf("of an open port it found %v in %+v", got, r)
	}
	for _, name := range []string{"configuration", "modes", "owner", "certificates", "groups", "other rotation"} {
		if got := of(r, name); len(got) != 1 || got[0] != doctor.OK {
			t.Errorf("%s: found %v in %+v", name, got, r)
		}
	}
	if err := os.Mkdir(dir+"/state", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/state", 0o777); err != nil {
		t.Fatal(err)
	}
	if r, code := examined(t, log); code != daemon.ExitFailure || of(r, "modes")[0] != doctor.Wrong {
		t.Errorf("with a state that all may write, code %d and %+v", code, r)
	}
	if r, code := examined(t, log+"[collector.limits]\nstreams = 0\n"); code != daemon.ExitFailure || len(r) != 1 || r[0].Check != "configuration" {
		t.Errorf("with a mistake, code %d and %+v", code, r)
	}
}

// Doctor asks a running collector, and does not take what that holds for a fault.
func TestDoctorOfRunning(t *testing.T) {
	_, path := configured(t, "")
	var out strings.Builder
	(&options{config: path}).doctor(t.Context(), &out) // the disk of the machine may be wrong
	if got := out.String(); !strings.Contains(got, "fine:  configuration, collector (running), ") {
		t.Errorf("it printed\n%s", got)
	}
}
