package collector

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"fanin/internal/redistest"
	"fanin/internal/waittest"
)

// TestRedisOutputMistakes: what an output cannot be.
func TestRedisOutputMistakes(t *testing.T) {
	const in = "[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\n"
	for text, want := range map[string]string{
		in:                                "the table has no effect",
		in + "[collector.redis.output]\n": "needs exactly one of",
		in + "[collector.redis.output]\nstream = \"a\"\nlist = \"b\"\n":                             "needs exactly one of",
		in + "[collector.redis.output]\nchannel = \"a\"\ngroup = \"g\"\n":                           "group has no effect with channel",
		in + "[collector.redis.output]\nchannel = \"a\"\nfrom = \"start\"\n":                        "from has no effect with channel",
		in + "[collector.redis.output]\nchannel = \"a\"\nmax_len = 5\n":                             "max_len has no effect with channel",
		in + "[collector.redis.output]\nchannel = \"a.{name}\"\n":                                   "other braces than {host} and {source}",
		in + "[collector.redis.output]\nstream = \"a\"\nmax_len = 0\n":                              "max_len is 0",
		in + "[collector.redis.output]\nstream = \"a\"\ngroup = \"a b\"\n":                          "group is \"a b\"",
		in + "[collector.redis.output]\nlist = \"a}b\"\n":                                           "braces",
		in + "streams = [\"a\"]\n[collector.redis.output]\nstream = \"a\"\n":                        "received again, for ever",
		in + "lists = [\"a\"]\n[collector.redis.output]\nlist = \"a\"\n":                            "received again, for ever",
		in + "channels = [\"a.*\"]\n[collector.redis.output]\nchannel = \"a.{host}\"\n":             "received again, for ever",
		in + "[collector.redis.output]\nstream = \"a\"\n" + in + "streams = [\"a\"]\n":              "received again, for ever",
		in + strings.Repeat("[collector.redis.output]\nstream = \"a\"\n"+in, 2) + "lists=[\"l\"]\n": "group \"redis\" is also that of the output of collector.redis[0]",
	} {
		text = "[collector.log]\npath = \"/tmp/x\"\n" + text
		if _, err := loadText(t, t.TempDir(), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nis refused with %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{
		in + "[collector.redis.output]\nstream = \"a\"\n" + in + "[collector.redis.output]\nlist = \"b\"\ngroup = \"b\"\nmax_len = 10\n",
		in + "streams = [\"b\"]\nchannels = [\"b.*\"]\n[collector.redis.output]\nchannel = \"a.{host}\"\n",
		in + "[collector.redis.output]\nlist = \"{a}b\"\nfrom = \"2d\"\n",
	} {
		if _, err := loadText(t, t.TempDir(), "[collector.log]\npath = \"/tmp/x\"\n"+text); err != nil {
			t.Errorf("%s\nis refused with %v", text, err)
		}
	}
}

// TestRedisKeys: no key of a server is used for two things; any name is a key.
func TestRedisKeys(t *testing.T) {
	const in = "[[collector.redis]]\nurl = \"redis://127.0.0.1:1\"\n"
	const out = in + "[collector.redis.output]\n"
	load := func(text string) error {
		_, err := loadText(t, t.TempDir(), "[collector.log]\npath = \"/tmp/x\"\n"+text)
		return err
	}
	const both = "give each a key of its own"
	for text, want := range map[string]string{
		in + "streams = [\"q\"]\nlists = [\"q\"]\n":                                  both,
		in + "streams = [\"q\"]\n" + in + "lists = [\"q\"]\n":                        both,
		out + "stream = \"s\"\n" + out + "stream = \"s\"\ngroup = \"b\"\n":           both,
		out + "list = \"s\"\n" + out + "list = \"s\"\ngroup = \"b\"\n":               both,
		out + "stream = \"s\"\n" + out + "list = \"s\"\ngroup = \"b\"\n":             both,
		in + "streams = [\"s\"]\n[collector.redis.output]\nlist = \"s\"\n":           both,
		in + "lists = [\"{o}:fanin-out\"]\n[collector.redis.output]\nlist = \"o\"\n": both,
		out + "stream = \"{o}:fanin-out\"\n" + out + "list = \"o\"\ngroup = \"b\"\n": both,
		in + "lists = [\"{q}:c\", \"q\"]\nconsumer = \"c\"\n":                        both,
		in + "lists = [\"q\"]\nconsumer = \"c\"\n" + out + "list = \"{q}:c\"\n":      both,
		in + "lists = [\"q\"]\nconsumer = \"fanin-out\"\n":                           "consumer is \"fanin-out\"",
		in + "lists = [\"a}b\"]\ncluster = true\n":                                   "has braces",
		in + "streams = [\"logs.*\"]\n":                                              "only channels may be patterns",
	} {
		if err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nis refused with %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{
		in + "streams = [\"logs[prod]\", \"why?\"]\nlists = [\"a}b\", \"c\\\\d\"]\n",
		in + "lists = [\"{a}b\", \"q\"]\nconsumer = \"fanin\"\ncluster = true\n",
		out + "stream = \"s\"\n" + strings.Replace(out, ":1\"", ":1/2\"", 1) + "stream = \"s\"\ngroup = \"b\"\n",
		out + "stream = \"s\"\n" + strings.Replace(out, ":1\"", ":2\"", 1) + "stream = \"s\"\ngroup = \"b\"\n",
	} {
		if err := load(text); err != nil {
			t.Errorf("%s\nis refused with %v", text, err)
		}
	}
}

// TestRedisOutputs: a collector with an output of each kind. The server is away at the start,
// which the status says; then lines go out.
func TestRedisOutputs(t *testing.T) {
	r, dir := redistest.New(t), t.TempDir()
	r.Kill()
	table := "[[collector.redis]]\nurl = \"" + r.URL() + "\"\n[collector.redis.output]\n"
	s, err := loadText(t, dir, "[collector.log]\nsync = \"none\"\npath = \""+dir+"/all.log\"\n[[collector.tcp]]\nlisten = \"127.0.0.1:0\"\n"+
		table+"stream = \"s\"\n"+table+"list = \"l\"\ngroup = \"list\"\nmax_len = 2\n"+table+"channel = \"c.{source}\"\n")
	if err != nil {
		t.Fatal(err)
	}
	c, err := newServer(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }() // ended by stop
	<-c.opened
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	waittest.Until(t, "trouble of all outputs", func() bool {
		st, err := c.status(ctx)
		if err != nil || len(st.Redis) != 3 {
			t.Fatalf("the status is %+v, %v", st.Redis, err)
		}
		return st.Redis[0].Trouble != "" && st.Redis[1].Trouble != "" && st.Redis[2].Trouble != ""
	})
	nc, err := net.Dial("tcp", c.listeners.serving()[0].address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, "one\ntwo\nthree\n")
	r.Start()
	waittest.UntilEqual(t, "entries of the stream", "3", func() string { return r.Do("XLEN", "s") })
	waittest.Until(t, "elements of the list", func() bool { return strings.HasSuffix(r.Do("LRANGE", "l", "0", "-1"), " three") })
	if n := r.Do("LLEN", "l"); n != "2" {
		t.Errorf("the list has %s elements, want 2", n)
	}
	waittest.Until(t, "no trouble", func() bool {
		st, err := c.status(ctx)
		return err == nil && st.Redis[0].Trouble+st.Redis[1].Trouble+st.Redis[2].Trouble == ""
	})
}
