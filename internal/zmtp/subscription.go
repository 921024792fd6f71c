package zmtp

// Subscription waits for the next subscription of a SUB or XSUB peer, in either form: the
// commands SUBSCRIBE and CANCEL of ZMTP 3.1, or the messages 1 TOPIC and 0 TOPIC of 3.0. Other
// messages of the peer are skipped. The topic is valid until the next call. add is false for a
// cancellation. Errors are those of Receive.
func (c *Conn) Subscription() (topic []byte, add bool, err error) {
	for {
		e, err := c.step()
		if err != nil {
			return nil, false, c.failed(err)
		}
		switch e {
		case subscribe, cancel:
			return c.topic, e == subscribe, nil
		case message:
			if f := c.taken(); len(f) == 1 && len(f[0]) > 0 && f[0][0] <= 1 {
				return f[0][1:], f[0][0] == 1, nil
			}
		case nothing:
			if err := c.fill(); err != nil {
				return nil, false, err
			}
		}
	}
}

// Subscribe tells a PUB or XPUB peer to send messages that begin with topic, in the form that it
// understands.
func (c *Conn) Subscribe(topic string) error { return c.changeSubscription(subscribing, 1, topic) }

// Cancel undoes one Subscribe.
func (c *Conn) Cancel(topic string) error { return c.changeSubscription(canceling, 0, topic) }

func (c *Conn) changeSubscription(name string, first byte, topic string) error {
	if c.peer.Minor == 0 {
		if err := c.Send(append([]byte{first}, topic...)); err != nil {
			return err
		}
		return c.Flush()
	}
	c.out.mu.Lock()
	defer c.out.unlock()
	return c.writeError(c.out.command(name, []byte(topic)))
}
