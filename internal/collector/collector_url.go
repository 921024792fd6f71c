package collector

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"fanin/internal/certs"
	"fanin/internal/daemon"
	"fanin/internal/disk"
)

// collectorURL is the HTTP listener of a collector, as the flags of a command name it. Without it, a
// command asks over the control socket.
type collectorURL struct {
	connect, tokenFile string
	tls                certs.Files
}

// flags adds the flags to a command.
func (e *collectorURL) flags(c *cobra.Command) {
	c.Flags().StringVar(&e.connect, "connect", "",
		"the collector's HTTP `URL`, such as https://collector:6790 (default: the control socket of --out or --config)")
	e.proofFlags(c)
}

// proofFlags adds the flags that show to a collector what may be asked of it, and check which collector it is.
func (e *collectorURL) proofFlags(c *cobra.Command) {
	f := c.Flags()
	tokenFlag(c, &e.tokenFile)
	f.StringVar(&e.tls.CA, "ca", "", "with https: the `file` with the authority's certificate")
	f.StringVar(&e.tls.Cert, "cert", "", "with https: the `file` with the client certificate")
	f.StringVar(&e.tls.Key, "key", "", "with https: its key `file`")
}

// tokenFlag adds the flag that names the file with the token.
func tokenFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "token-file", os.Getenv("FANIN_TOKEN_FILE"),
		"with a URL: the `file` with the token for the collector; also FANIN_TOKEN_FILE")
}

// target returns the collector at the collectorURL.
func (e *collectorURL) target() (*target, error) {
	u, err := url.Parse(e.connect)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, daemon.Exitf(daemon.ExitUsage, "%q: want a URL such as http://collector:6790", e.connect)
	}
	transport := &http.Transport{}
	if u.Scheme == "https" {
		config, err := e.tls.Client()
		if err != nil {
			return nil, daemon.Exitf(daemon.ExitConfig, "%w", err)
		}
		transport.TLSClientConfig = config()
	}
	token, err := readToken(e.tokenFile, u.Hostname(), u.Scheme == "https", "https")
	if err != nil {
		return nil, err
	}
	// A redirect would take the token elsewhere.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &target{name: e.connect, where: "at " + e.connect, base: e.connect, tls: e.tls,
		client: &http.Client{Transport: withToken(token, transport), CheckRedirect: stay}}, nil
}

// readToken reads the token to show to a host; "" without a file. It must not be sent over the network
// without encryption.
func readToken(file, host string, encrypted bool, remedy string) (string, error) {
	if file == "" {
		return "", nil
	}
	if !encrypted && !isLocal(host) {
		return "", daemon.Exitf(daemon.ExitUsage, "a token is not sent to %s without encryption: use %s, or no "+
			"--token-file and no FANIN_TOKEN_FILE", host, remedy)
	}
	token, err := disk.ReadSecret(file)
	if err != nil {
		return "", daemon.Exitf(daemon.ExitConfig, "--token-file: %w", err)
	}
	return token, nil
}

// isLocal reports whether a host is this machine.
func isLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// tokenTransport adds a token to each request.
type tokenTransport struct {
	header string
	next   http.RoundTripper
}

// withToken returns a transport that adds a token; "": it adds none.
func withToken(token string, next http.RoundTripper) http.RoundTripper {
	if token == "" {
		return next
	}
	return &tokenTransport{"Bearer " + token, next}
}

// RoundTrip sends a request with the token.
func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", t.header)
	return t.next.RoundTrip(r)
}

// hostOf is the host of an address host:port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
