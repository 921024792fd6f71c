package distribute

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"sync"
	"time"

	"fanin/sink/distribute/protocol"
)

// serve serves one connection until it ends.
func (d *Distributor) serve(raw net.Conn, config *tls.Config) {
	defer raw.Close()
	nc := raw
	raw.SetDeadline(time.Now().Add(d.now().HandshakeTimeout))
	if config != nil {
		nc = tls.Server(raw, config)
	}
	r := protocol.NewReader(nc, 4096)
	hello, leave, err := d.now().greet(nc, r)
	defer leave()
	if err == nil {
		err = d.attend(raw, nc, r, &hello)
	}
	if err != nil {
		d.countRefused(nc, err)
		sendFault(nc, err)
	}
}

// attend makes the sender of a greeting a member of its group, until the connection ends. The error is why
// it is refused.
func (d *Distributor) attend(raw, nc net.Conn, r *protocol.Reader, hello *protocol.Hello) error {
	m, welcome, err := d.admit(nc, hello)
	if err != nil {
		return err
	}
	m.send(welcome) // before anything that is queued already
	raw.SetDeadline(time.Time{})
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { m.write(done) }) // ends with done
	err = m.read(r)
	broke := protocol.Broke(err) || errors.Is(err, errBreach)
	m.group.leave(m, !broke)
	if broke {
		d.warnings.Warn("breach", "a worker violated the protocol and was disconnected",
			"err", err, "peer", raw.RemoteAddr().String(), "group", m.group.name)
		d.counts.breaches.Add(1)
		m.farewell(err)
	} else {
		close(done)
	}
	writing.Wait()
	return nil
}

// greet reads a worker's greeting, and asks whether it may join. leave, which is never nil, is to be
// called when the connection has ended.
func (s *Settings) greet(nc net.Conn, r *protocol.Reader) (hello protocol.Hello, leave func(), err error) {
	leave = func() {}
	if hello, err = r.Hello(); err != nil {
		return hello, leave, fmt.Errorf("greeting: %w", err)
	}
	if tc, ok := nc.(*tls.Conn); ok && s.Allowed != nil {
		if err := s.Allowed(tc.ConnectionState()); err != nil {
			return hello, leave, &refusal{"certificate", err}
		}
	}
	if s.Admit == nil || !peerOf(nc).IsValid() {
		return hello, leave, nil
	}
	admitted, reason, err := s.Admit(nc, hello.Token)
	if err != nil {
		return hello, leave, &refusal{reason, err}
	}
	return hello, admitted, nil
}

// refusal is why a worker is refused, with one of the reasons that are counted.
type refusal struct {
	reason string
	error
}

// Unwrap returns the error.
func (r *refusal) Unwrap() error { return r.error }

// countRefused counts and logs that a peer is refused.
func (d *Distributor) countRefused(nc net.Conn, err error) {
	reason := "greeting"
	var r *refusal
	if errors.As(err, &r) {
		reason = r.reason
	}
	d.counts.refuse(reason)
	d.warnings.Warn(reason, "a worker was refused", "err", err, "peer", nc.RemoteAddr().String())
}

// sendFault tells a peer why its connection is closed.
func sendFault(nc net.Conn, err error) {
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write(protocol.AppendFrame(nil, &protocol.Frame{Kind: protocol.KindFault, Reason: short(err.Error())}))
}

func short(s string) string { return s[:min(len(s), protocol.MaxString)] }

var groupName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

// admit makes the sender of a greeting a member of its group, which it creates if it is
// new.
func (d *Distributor) admit(nc net.Conn, h *protocol.Hello) (m *member, welcome []byte, err error) {
	h.Credit = cmp.Or(h.Credit, 1000)
	h.Weight = cmp.Or(h.Weight, 1)
	h.Batch = cmp.Or(h.Batch, h.Credit)
	h.Lease = cmp.Or(h.Lease, d.now().Lease)
	h.Name = cmp.Or(h.Name, nc.RemoteAddr().String())
	if err := d.checkHello(h); err != nil {
		return nil, nil, err
	}
	g, err := d.findOrCreate(h.Group, h.From, peerOf(nc))
	if err != nil {
		return nil, nil, err
	}
	m = newMember(g, nc, h, d.counts.members.Add(1))
	if err := g.join(m); err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	w := protocol.Welcome{Log: d.sink.Status().Log, Group: g.name,
		Position: g.lowLocked().String(), Format: d.sink.Format, Credit: d.now().MaxCredit, Lease: m.lease,
		Attempts: d.now().Attempts}
	if g.window != nil {
		w.Partition, w.Epoch = d.now().Partition, g.window.Epoch
	}
	return m, protocol.AppendWelcome(nil, &w), nil
}

// CheckGroup returns what is wrong with the name of a group.
func CheckGroup(group string) error {
	if !groupName.MatchString(group) {
		return fmt.Errorf("group %.80q: want 1 to 64 letters, digits, '.', '_' and '-', the first not a '.'", group)
	}
	return nil
}

// checkHello checks a worker's options, before a group is created for it.
func (d *Distributor) checkHello(h *protocol.Hello) error {
	if err := CheckGroup(h.Group); err != nil {
		return err
	}
	switch {
	case h.Cluster && !d.now().Windows:
		return errors.New("this collector is not a member of a cluster")
	case h.Credit < 1 || h.Credit > d.now().MaxCredit:
		return fmt.Errorf("credit of %d lines: want 1 to %d", h.Credit, d.now().MaxCredit)
	case h.Weight < 1 || h.Weight > 100:
		return fmt.Errorf("weight %d: want 1 to 100", h.Weight)
	case h.Batch < 1:
		return fmt.Errorf("batch of %d lines: want 1 or more", h.Batch)
	case !slices.Contains([]string{"", "host", "source", "host+source", keyLog}, h.Key):
		return fmt.Errorf("key %.80q: want host, source, host+source or log", h.Key)
	case h.Key != "" && h.Key != keyLog && d.sink.Format == "raw":
		return errors.New("lines of a log in the raw format have no host and no source to use as a key")
	}
	_, err := d.sink.Matcher(filterOf(h))
	return err
}
