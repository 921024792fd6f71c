package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/certs"
	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/join"
)

// Where the service has its files.
const (
	serviceConfig = "/etc/fanin/agent.toml"
	serviceState  = "/var/lib/fanin-agent"
)

// joinJob is one run of `fanin-agent join`.
type joinJob struct {
	config, state, user, tokenFile string
	id                             string // for a token that is for many hosts
	disk                           disk.Disk
	now                            func() time.Time
	out                            io.Writer
}

func (o *options) joinCommand() *cobra.Command {
	j := &joinJob{now: time.Now}
	c := &cobra.Command{Use: "join TOKEN|-",
		Short: "get a certificate with a token of fanin-collector pki invite, and write the configuration",
		Long: `Makes a key, gets a certificate for it from the collector that made the token, and writes
the configuration. The key never leaves this host. Run it as root, on the host that was
invited:

  fanin-agent join TOKEN
  systemctl enable --now fanin-agent

With -, the token is read from standard input, and with --token-file from a file: then it
does not stand in the list of processes. It may be run again at any time: after a failure,
it goes on where it was. From then on the agent renews its certificate by itself.

The files are in STATE/tls. An existing configuration is kept; only the one that was
installed, which sends to this machine, is changed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			token, err := j.token(c.InOrStdin(), args)
			if err != nil {
				return err
			}
			j.config, j.state, j.id = cmp.Or(o.config, serviceConfig), cmp.Or(o.state, serviceState), o.id
			j.out = c.OutOrStdout()
			if abs, err := filepath.Abs(j.state); err == nil {
				j.state = abs
			}
			return j.run(c.Context(), token)
		}}
	c.Flags().StringVar(&j.tokenFile, "token-file", "", "read the token from this `file`")
	c.Flags().StringVar(&j.user, "user", "", "the `user` that the agent runs as (as root: fanin)")
	return c
}

// token reads the token from where it is.
func (j *joinJob) token(stdin io.Reader, args []string) (*join.Token, error) {
	if (len(args) == 1) == (j.tokenFile != "") {
		return nil, daemon.Exitf(daemon.ExitUsage, "one token is needed: fanin-agent join TOKEN, or - to read it from "+
			"standard input, or --token-file FILE")
	}
	var text string
	switch {
	case j.tokenFile != "":
		b, err := disk.ReadFile(j.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		text = string(b)
	case args[0] == "-":
		b, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		text = string(b)
	default:
		text = args[0]
	}
	t, err := join.ParseToken(text)
	if err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitUsage, Err: err}
	}
	return &t, nil
}

// run joins. Each step is done only if it is not done yet, so it can be repeated.
func (j *joinJob) run(ctx context.Context, t *join.Token) error {
	as, err := daemon.UserOf(j.user)
	if err != nil {
		return err
	}
	name, err := j.name(t)
	if err != nil {
		return err
	}
	i := newIdentity(j.state)
	i.disk = j.disk
	if err := as.Mkdir(j.state, func() error { return i.disk.MkdirAll(j.state, 0o750) }); err != nil {
		return j.explain(err)
	}
	// What is below, the agent's user could replace by links: root must not write there.
	if err := as.Do(func() error { return j.identify(ctx, i, t, name) }); err != nil {
		return j.explain(err)
	}
	if err := j.configure(i, t, name); err != nil {
		return err
	}
	if err := as.Do(func() error { return i.disk.Remove(i.joining()) }); err != nil {
		return err
	}
	if j.config == serviceConfig {
		escape.Fprintf(j.out, "next: systemctl enable --now fanin-agent (if it runs: systemctl restart fanin-agent)\n")
	} else {
		escape.Fprintf(j.out, "next: fanin-agent --config %s\n", j.config)
	}
	return nil
}

// identify makes the files of the identity.
func (j *joinJob) identify(ctx context.Context, i *identity, t *join.Token, name string) error {
	if err := i.disk.Mkdir(i.dir, 0o700); err != nil {
		return err
	}
	if err := j.certify(ctx, i, t, name); err != nil {
		return err
	}
	leaf, err := i.certificate()
	if err != nil {
		return err
	}
	escape.Fprintf(j.out, "%s has a certificate until %s, and will renew it by itself\n", name,
		leaf.NotAfter.UTC().Format(time.DateOnly))
	return nil
}

// name is this host's: the token's, or its own where the token is for many.
func (j *joinJob) name(t *join.Token) (string, error) {
	name := t.Name
	switch {
	case name != "" && j.id != "" && j.id != name:
		return "", daemon.Exitf(daemon.ExitUsage, "the token is for %q, and the id is set to %q (--id or "+
			"FANIN_ID): ask for "+
			"one for that name, or leave the id out", name, j.id)
	case name == "":
		host, _ := os.Hostname()
		name = cmp.Or(j.id, host)
	}
	if err := join.CheckName(name); err != nil {
		return "", daemon.Exitf(daemon.ExitUsage, "%w; set another one with --id", err)
	}
	return name, nil
}

// certify gets the certificate, unless this token has given it already.
func (j *joinJob) certify(ctx context.Context, i *identity, t *join.Token, name string) error {
	first := mark(t)
	have, err := marked(i.path(), first)
	if err != nil {
		return err
	}
	if have != nil {
		if leaf, err := i.certificate(); err == nil && j.now().After(leaf.NotAfter) {
			return fmt.Errorf("this token was used on this host already, and the certificate expired on %s; for a "+
				"new token: fanin-collector pki invite %s", leaf.NotAfter.UTC().Format(time.DateOnly), name)
		}
		escape.Fprintf(j.out, "this token was used on this host already\n")
		return nil
	}
	key, err := i.key(first)
	if err != nil {
		return err
	}
	request, err := join.NewRequest(join.Join, t.Secret, name, key)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(t.Address)
	if err != nil {
		return err
	}
	answer, err := join.Ask(ctx, t.Address, join.Pinned(t.Authority, host, j.now), request)
	if err != nil {
		return j.unjoined(t, err)
	}
	issued, err := answer.Check(key, name, j.now())
	if err != nil {
		return err
	}
	return i.store(first, issued, key)
}

// unjoined explains why the collector gave no certificate.
func (j *joinJob) unjoined(t *join.Token, err error) error {
	var refused *join.Refused
	if errors.As(err, &refused) {
		if refused.Wait > 0 {
			return daemon.Exitf(daemon.ExitLater, "%w; try again in %s, with the same token", err, refused.Wait)
		}
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return daemon.Exitf(daemon.ExitUnreachable, "the collector cannot be reached at %s: %w. Check that this "+
			"name and port "+
			"can be reached from here (nc -vz %s), and try again with the same token; if hosts reach the "+
			"collector elsewhere: "+
			"fanin-collector pki invite --address HOST:PORT", t.Address, err, strings.Replace(t.Address, ":", " ", 1))
	}
	return fmt.Errorf("join at %s: %w", t.Address, certs.Files{}.ExplainClient(err))
}

// explain adds what to do to an error of permissions.
func (j *joinJob) explain(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w: run this as root, or set --state and --config to where you may write", err)
	}
	return err
}
