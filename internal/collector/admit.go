package collector

import (
	"crypto/tls"
	"errors"
	"net"

	"fanin/internal/access"
	"fanin/internal/certs"
	"fanin/internal/origin"
)

// admitWorker decides whether a worker may join, as distribute.Settings.Admit does. A worker that
// loses the role is disconnected.
func admitWorker(policy *access.Policy, nc net.Conn, token string) (leave func(), reason string, err error) {
	p := access.Peer{Address: origin.Parse(nc.RemoteAddr().String())}
	if tc, ok := nc.(*tls.Conn); ok {
		p.Encrypted, p.Names = true, certs.PeerNames(tc.ConnectionState())
		nc = tc.NetConn() // closed without an alert, which might block
	}
	who := policy.Anonymous(p)
	if token != "" {
		who, err = policy.Identify(p, token)
	}
	if err == nil {
		err = access.Require(who, access.Work)
	}
	var why *access.Refused
	if errors.As(err, &why) {
		return nil, why.Reason, err
	}
	return policy.Hold(who, access.Work, func() { nc.Close() }), "", nil
}
