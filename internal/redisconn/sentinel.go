package redisconn

import (
	"context"
	"fmt"
	"net"
)

// dialMaster connects to the master that the Sentinel at an address names. A Sentinel that
// was cut off may name one of long ago, so the server itself is asked, too.
func (c *Client) dialMaster(ctx context.Context, sentinel address) (*Conn, error) {
	master, err := c.master(ctx, sentinel)
	if err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx, master, true)
	if err != nil {
		return nil, err
	}
	role, err := conn.Do(ctx, "ROLE")
	if err == nil && role.At(0).String() != "master" {
		err = newServerError(fmt.Sprintf("READONLY the Sentinel %s names this server, which is no master yet",
			sentinel))
	}
	if err != nil {
		conn.Close()
		return nil, during("the Redis server "+master.String(), "ask for the role", err)
	}
	return conn, nil
}

// master asks a Sentinel for the address of the master. Sentinels may have the same login as
// the servers, or none.
func (c *Client) master(ctx context.Context, sentinel address) (a address, err error) {
	conn, err := c.dial(ctx, sentinel, false)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	where := []string{"SENTINEL", "GET-MASTER-ADDR-BY-NAME", c.Login.Sentinel}
	v, err := conn.Do(ctx, where...)
	if Classify(err) == NoAuth {
		password, unreadable := c.Login.password()
		if unreadable != nil {
			return a, unreadable
		}
		conn.auth(c.Login.User, password)
		if err = conn.Send(ctx); err == nil {
			_, err = conn.Receive(ctx, 0)
		}
		if err == nil {
			v, err = conn.Do(ctx, where...)
		}
	}
	if err != nil {
		return a, during("ask the Sentinel "+sentinel.String()+" for the master", "ask for the master", err)
	}
	host, port := v.At(0).String(), v.At(1).String()
	if host == "" || port == "" {
		return a, fmt.Errorf("the Sentinel %s knows no master %q: correct sentinel_master", sentinel, c.Login.Sentinel)
	}
	return address{network: "tcp", host: net.JoinHostPort(host, port), secure: sentinel.secure, db: sentinel.db}, nil
}
