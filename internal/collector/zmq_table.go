package collector

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"fanin/ingest/zmq"
	"fanin/internal/config"
	"fanin/internal/disk"
	"fanin/internal/zmtp"
)

// zmqTable is [[collector.zmq]]: ZeroMQ sockets that lines come from, and go to.
type zmqTable struct {
	Pull       *zmqEndpoints `toml:"pull"`
	Sub        *zmqSub       `toml:"sub"`
	Sequence   bool          `toml:"sequence"`
	Source     string        `toml:"source"`
	Host       string        `toml:"host"`
	MaxLine    *config.Size  `toml:"max_line"`
	MaxMessage *config.Size  `toml:"max_message"`
	zmqAccess

	Output *zmqOutput `toml:"output"`
	Status *zmqStatus `toml:"status"`
}

// zmqAccess is who may talk to the sockets of a table.
type zmqAccess struct {
	MaxConns *int      `toml:"max_conns"`
	Plain    *zmqPlain `toml:"plain"`
	Curve    *zmqCurve `toml:"curve"`
	Insecure bool      `toml:"insecure"`
}

// zmqEndpoints are where a socket is: "tcp://127.0.0.1:5557", or a list of these, to bind;
// {connect = [...]} to connect.
type zmqEndpoints struct {
	Bind    []string `toml:"bind"`
	Connect []string `toml:"connect"`
}

// SetShort implements config.Short.
func (e *zmqEndpoints) SetShort(values []string) { e.Bind = values }

// zmqSub is what a SUB subscribes to, and where.
type zmqSub struct {
	zmqEndpoints
	Topics []string `toml:"topics"`
}

// zmqPlain is a user with a password: the one that clients must have, or ours.
type zmqPlain struct {
	User         string `toml:"user"`
	PasswordFile string `toml:"password_file"`
}

// zmqCurve are keys, as fanin-collector curve-key and zmq.auth make them.
type zmqCurve struct {
	SecretFile  string `toml:"secret_file"`
	ServerKey   string `toml:"server_key"`
	ClientsFile string `toml:"clients_file"`
}

// bound and connected are the endpoints. They were checked.
func (e *zmqEndpoints) bound() []zmtp.Endpoint     { return parsed(e.Bind) }
func (e *zmqEndpoints) connected() []zmtp.Endpoint { return parsed(e.Connect) }

func parsed(texts []string) (all []zmtp.Endpoint) {
	for _, text := range texts {
		if e, err := zmtp.ParseEndpoint(text); err == nil {
			all = append(all, e)
		}
	}
	return all
}

// ports are the TCP ports that the endpoints bind.
func (e *zmqEndpoints) ports(key string) (all []port) {
	for _, x := range e.bound() {
		if x.Network == "tcp" {
			all = append(all, port{key: key, network: "tcp", listen: x.Listen()})
		}
	}
	return all
}

// security reads the keys of a socket that binds or connects. The side that binds is the
// server of PLAIN and CURVE, which decides who may talk to it.
func (a *zmqAccess) security(binds bool) (s zmtp.Security, err error) {
	s.Server = binds
	if a.Plain != nil {
		s.Plain = &zmtp.Plain{User: a.Plain.User}
		if s.Plain.Password, err = disk.ReadSecret(a.Plain.PasswordFile); err != nil {
			return s, fmt.Errorf("plain.password_file: %w", err)
		}
	}
	if a.Curve != nil {
		s.Curve, err = a.Curve.keys(binds)
	}
	return s, err
}

// keys reads the keys of a server or a client.
func (t *zmqCurve) keys(server bool) (k *zmtp.Curve, err error) {
	k = new(zmtp.Curve)
	if k.Secret, err = zmtp.ReadSecretKey(t.SecretFile); err != nil {
		return k, fmt.Errorf("curve.secret_file: %w", err)
	}
	if !server {
		if k.ServerKey, err = zmtp.ParseKey(t.ServerKey); err != nil {
			return k, fmt.Errorf("curve.server_key is %w", err)
		}
		return k, nil
	}
	if t.ClientsFile != "" {
		if k.Clients, err = zmtp.ReadClientKeys(t.ClientsFile); err != nil {
			return k, fmt.Errorf("curve.clients_file: %w", err)
		}
	}
	return k, nil
}

// sockets are the endpoints of the table, by key.
func (t *zmqTable) sockets() (keys []string, all []*zmqEndpoints) {
	if t.Pull != nil {
		keys, all = append(keys, "pull"), append(all, t.Pull)
	}
	if t.Sub != nil {
		keys, all = append(keys, "sub"), append(all, &t.Sub.zmqEndpoints)
	}
	return keys, all
}

func (t *zmqTable) needs() needs {
	n := needs{files: t.readKeys, secrets: t.readKeys, alone: true}
	keys, sockets := t.sockets()
	binding, connecting := 0, 0
	for i, x := range sockets {
		n.ports = append(n.ports, x.ports(keys[i])...)
		connecting += len(x.Connect)
		if len(x.Bind) > 0 {
			binding++
		}
	}
	if binding > 0 { // each of the sockets has so many
		more := func(most int) int { return (binding-1)*most + connecting }
		n.conns = &connNeed{t.MaxConns, zmtp.DefaultMaxConns, more}
	}
	for _, x := range t.outs() {
		x.need(&n)
	}
	return n
}

// readKeys reads the keys and secrets of all sockets.
func (t *zmqTable) readKeys() error {
	var problems []error
	_, sockets := t.sockets()
	for _, x := range sockets {
		_, err := t.security(len(x.Bind) > 0)
		problems = append(problems, err)
	}
	for _, x := range t.outs() {
		problems = append(problems, prefix(x.table, x.readKeys()))
	}
	return errors.Join(problems...)
}

func (t *zmqTable) check(c *checks) {
	keys, sockets := t.sockets()
	if len(sockets) == 0 && t.Output == nil && t.Status == nil {
		c.Problem("", "the table has no effect: give it pull = [\"tcp://127.0.0.1:5557\"], or "+
			"sub = {connect = [\"tcp://127.0.0.1:5556\"]}")
	}
	for i, x := range sockets {
		x.check(c, keys[i], &t.zmqAccess)
	}
	if t.Sequence && t.Sub == nil {
		c.Problem("sequence", "sequence has an effect on what is published: it needs sub")
	}
	if t.Sub != nil {
		t.Sub.checkTopics(c)
	}
	t.zmqAccess.check(c)
	t.zmqAccess.checkEffect(c, t.sharing(sockets))
	t.checkOuts(c)
	c.source(t.Source)
	c.maxLine(t.MaxLine)
	c.SizeBetween("max_message", t.MaxMessage, 1<<10, zmq.MaxMessage)
}

// maxTopic bounds a topic that is subscribed to.
const maxTopic = 255

func (s *zmqSub) checkTopics(c *checks) {
	for _, topic := range s.Topics {
		if len(topic) > maxTopic {
			c.Sub("sub").Problem("topics", "a topic has %d bytes; want at most %d", len(topic), maxTopic)
		}
	}
}

// check checks the endpoints of one socket, which is at a key of the table.
func (e *zmqEndpoints) check(c *checks, key string, a *zmqAccess) {
	if (len(e.Bind) > 0) == (len(e.Connect) > 0) {
		c.Problem(key, "%s needs endpoints either to bind or to connect to: %s = [\"tcp://127.0.0.1:5557\"] binds, "+
			"and %s = {connect = [\"tcp://127.0.0.1:5557\"]} connects", key, key, key)
	}
	seen := make(map[zmtp.Endpoint]bool)
	for _, text := range append(e.Bind, e.Connect...) {
		x, err := zmtp.ParseEndpoint(text)
		if err == nil && len(e.Connect) > 0 {
			err = x.CanConnect()
		}
		switch {
		case err != nil:
			c.Problem(key, "%s: %v", key, err)
		case seen[x]:
			c.Problem(key, "%s has %q twice", key, text)
		case !x.Local() && a.Curve == nil && !a.Insecure && !c.insecure:
			c.Problem(key, "%s is %q, which is not only on this machine, and is not encrypted: give the table "+
				"curve = {secret_file = \"...\", ...}, or set insecure = true (or --insecure) if you trust the network",
				key, text)
		}
		seen[x] = true
	}
	if len(e.Connect) > 0 && a.Curve != nil && a.Curve.ServerKey == "" {
		c.Problem("curve", "curve.server_key is missing: %s connects, so it must know the server's public key", key)
	}
}

func (a *zmqAccess) check(c *checks) {
	c.AtLeast("max_conns", a.MaxConns, 1)
	if a.Plain != nil && a.Curve != nil {
		c.Problem("plain", "a socket has one mechanism: remove plain or curve")
	}
	if p := a.Plain; p != nil && (p.User == "" || p.PasswordFile == "" || len(p.User) > 255) {
		c.Problem("plain", "plain needs a user and a password, as in plain = {user = \"app\", "+
			"password_file = \"/etc/fanin/zmq.password\"}")
	}
	if k := a.Curve; k != nil {
		if k.SecretFile == "" {
			c.Problem("curve", "curve.secret_file is missing: the secret key of this side, which fanin-collector "+
				"curve-key makes")
		}
		if _, err := zmtp.ParseKey(k.ServerKey); k.ServerKey != "" && err != nil {
			c.Problem("curve", "curve.server_key is %v", err)
		}
	}
}

// sharing are the sockets with the keys of the table: its inputs, and what below it has no
// keys of its own.
func (t *zmqTable) sharing(inputs []*zmqEndpoints) []*zmqEndpoints {
	all := slices.Clone(inputs)
	for _, x := range t.outs() {
		if x.access.Curve == t.Curve {
			all = append(all, x.endpoints)
		}
	}
	return all
}

// checkEffect reports keys that none of the sockets that have them needs.
func (a *zmqAccess) checkEffect(c *checks, sockets []*zmqEndpoints) {
	if a.Curve == nil || len(sockets) == 0 {
		return
	}
	bind, connect := false, false
	for _, x := range sockets {
		bind, connect = bind || len(x.Bind) > 0, connect || len(x.Connect) > 0
	}
	if !bind && a.Curve.ClientsFile != "" {
		c.Problem("curve", "curve.clients_file has no effect: it names who may connect, and here nothing binds")
	}
	if !connect && a.Curve.ServerKey != "" {
		c.Problem("curve", "curve.server_key has no effect: it is of the side that binds, and here nothing connects")
	}
}

// input is one of the sockets as an input. No keys are read yet.
func (t *zmqTable) input(s *server, kind zmtp.SocketType, e *zmqEndpoints) *zmq.Input {
	return &zmq.Input{
		Out: s.sink, Budget: s.room, Metrics: s.counters, Inputs: s.inputs, Log: s.log, Notice: s.sink.Notice,
		Socket: zmq.SocketOptions{Type: kind, Bind: e.bound(), Bound: s.sockets.bindZMQ,
			Connect: e.connected()},
		Lines: zmq.LineOptions{Source: t.Source, Host: t.Host, MaxLine: int(config.OrZero(t.MaxLine)),
			MaxMessage: int(config.OrZero(t.MaxMessage))},
		Sub: zmq.SubOptions{Topics: cmp.Or(t.Sub, new(zmqSub)).Topics, Sequence: t.Sequence,
			Pending: int(s.settings.Collector.MaxInFlight / 4)},
	}
}
