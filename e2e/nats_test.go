package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rogpeppe/go-internal/testscript"

	"fanin/e2e/rig"
)

// natsServer builds nats-server to where the other programs are.
func natsServer(ts *testscript.TestScript, _ bool, _ []string) {
	_, err := rig.BuildNATS(programs.Dir)
	ts.Check(err)
}

func natsClient(ts *testscript.TestScript, port string) *nats.Conn {
	nc, err := nats.Connect("nats://127.0.0.1:" + port)
	ts.Check(err)
	ts.Defer(nc.Close)
	return nc
}

// publish publishes one message: publish PORT SUBJECT TEXT.
func publish(ts *testscript.TestScript, _ bool, args []string) {
	nc := natsClient(ts, args[0])
	ts.Check(nc.Publish(args[1], []byte(args[2])))
	ts.Check(nc.Flush())
	nc.Close()
}

// ask finds the one endpoint of the micro services "fanin" whose subject matches,
// asks it and writes its answer to a file: ask PORT REGEXP FILE.
func ask(ts *testscript.TestScript, _ bool, args []string) {
	nc := natsClient(ts, args[0])
	re := regexp.MustCompile("^" + args[1] + "$")
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		for _, subject := range endpoints(ts, nc) {
			if !re.MatchString(subject) {
				continue
			}
			m, err := nc.Request(subject, nil, 10*time.Second)
			ts.Check(err)
			if problem := m.Header.Get(micro.ErrorHeader); problem != "" {
				ts.Fatalf("%s answers: %s", subject, problem)
			}
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), m.Data, 0o644))
			return
		}
	}
	ts.Fatalf("no endpoint matches %s", args[1])
}

// endpoints are the subjects of all that answer within a moment.
func endpoints(ts *testscript.TestScript, nc *nats.Conn) (subjects []string) {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	ts.Check(err)
	defer sub.Unsubscribe()
	ts.Check(nc.PublishRequest("$SRV.INFO.fanin", inbox, nil))
	for {
		m, err := sub.NextMsg(300 * time.Millisecond)
		if err != nil {
			return subjects
		}
		var info micro.Info
		ts.Check(json.Unmarshal(m.Data, &info))
		for _, e := range info.Endpoints {
			subjects = append(subjects, e.Subject)
		}
	}
}

// eventually runs a command until its output matches: eventually REGEXP COMMAND ARGS...
// The command is one of ours, or any program on the path.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[0])
	name := args[1]
	if ours := filepath.Join(programs.Dir, name); strings.HasPrefix(name, "fanin-") {
		name = ours
	}
	var out []byte
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c := exec.Command(name, args[2:]...)
		c.Dir = ts.MkAbs(".")
		if out, _ = c.CombinedOutput(); re.Match(out) {
			return
		}
	}
	ts.Fatalf("%q does not come to match %s; at last it says\n%s", args[1:], args[0], out)
}
