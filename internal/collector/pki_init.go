package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanin/internal/daemon"
	"fanin/internal/disk"
	"fanin/internal/escape"
	"fanin/internal/pki"
)

// pkiInit is one run of `pki init`. Each step is done only if it is not done yet, so it can be
// repeated after a failure.
type pkiInit struct {
	o         *options
	names     []string
	listen    string
	user      string
	noService bool
	disk      disk.Disk
	out       io.Writer
}

func (o *options) pkiInitCommand() *cobra.Command {
	p := &pkiInit{o: o}
	c := &cobra.Command{Use: "init --name NAME", Short: "make the authority, and listen for hosts that were invited",
		Long: `Makes the collector's own authority and certificate, adds a TLS listener to the
configuration, and starts or reloads the service. Run it once, as root. A name is what hosts
reach the collector as: a host name or an address. The first one is in the tokens.

The files are in STATE/pki, and belong to the user of the service. Keep a copy of them as safe
as the collector: with them, certificates can be made. What is there already is kept.`,
		Example: "  fanin-collector pki init --name collector.example --name 192.0.2.1",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			p.out = c.OutOrStdout()
			return p.run(c.Context())
		}}
	c.Flags().StringArrayVar(&p.names, "name", nil, "a `name` or address of this collector; can be repeated")
	c.Flags().StringVar(&p.listen, "listen", ":6793", "the `address` of the listener that is added")
	c.Flags().StringVar(&p.user, "user", "", "the `user` that the collector runs as (as root: fanin)")
	c.Flags().BoolVar(&p.noService, "no-service", false, "leave the service alone")
	return c
}

func (p *pkiInit) run(ctx context.Context) error {
	if err := p.checkNames(); err != nil {
		return err
	}
	as, err := daemon.UserOf(p.user)
	if err != nil {
		return err
	}
	s, err := p.configuration()
	if err != nil {
		return p.explain(err)
	}
	if err := p.authority(s, as); err != nil {
		return p.explain(err)
	}
	if err := p.addListener(s); err != nil {
		return p.explain(err)
	}
	return p.service(ctx, s)
}

func (p *pkiInit) checkNames() error {
	if len(p.names) == 0 {
		return daemon.Exitf(daemon.ExitUsage, "--name is missing: what hosts reach this collector as, such as --name "+
			"collector.example")
	}
	for _, name := range p.names {
		if _, err := netip.ParseAddr(name); err != nil && (!goodHost.MatchString(name) || len(name) > 253) {
			return daemon.Exitf(daemon.ExitUsage, "%q is no name or address of a host", name)
		}
	}
	if p.o.out != "" {
		return daemon.Exitf(daemon.ExitUsage, "pki init changes a configuration file, and does not know --out: "+
			"set --config")
	}
	return nil
}

// configuration reads the configuration, and writes one if there is none.
func (p *pkiInit) configuration() (*settings, error) {
	if _, err := os.Stat(p.o.config); errors.Is(err, fs.ErrNotExist) {
		if err := p.disk.MkdirAll(filepath.Dir(p.o.config), 0o755); err != nil {
			return nil, err
		}
		if err := p.write(p.o.config, newCollectorConfig, false); err != nil {
			return nil, err
		}
	}
	return p.o.load()
}

// newCollectorConfig is a configuration where there was none.
const newCollectorConfig = `# fanin-collector, as fanin-collector pki init has written it.
# All keys: /usr/share/doc/fanin-collector/config.example.toml
[collector]
state = "/var/lib/fanin"

[collector.log]
path = "/var/log/fanin/all.log"
`

// authority makes the authority, unless there is one: as the user of the service, who owns the
// directory, and could lead root elsewhere with links in it.
func (p *pkiInit) authority(s *settings, as *daemon.User) error {
	state := s.state()
	if err := as.Mkdir(state, func() error { return p.disk.MkdirAll(state, 0o750) }); err != nil {
		return err
	}
	var names []string
	err := as.Do(func() error {
		err := pki.Create(&p.disk, s.pkiDir(), p.names, time.Now())
		if errors.Is(err, pki.ErrExists) {
			names, err = pki.NamesIn(s.pkiDir())
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case names == nil:
		escape.Fprintf(p.out, "made the authority in %s\n", s.pkiDir())
		return nil
	case !slices.Equal(names, p.names):
		return fmt.Errorf("there is an authority already, for %s: to keep it, set --name accordingly; to begin "+
			"anew, stop the "+
			"collector and move %s away (every host must then join again)", strings.Join(names, ", "), s.pkiDir())
	}
	escape.Fprintf(p.out, "the authority in %s is kept\n", s.pkiDir())
	return nil
}

// addListener appends the listener to the configuration, unless there is one where hosts join.
func (p *pkiInit) addListener(s *settings) error {
	for _, x := range s.Collector.Inputs {
		if t, ok := x.table.(*tcpTable); ok && s.joinsAt(t.TLS) {
			escape.Fprintf(p.out, "%s is kept: hosts join at %s\n", p.o.config, t.Listen)
			return nil
		}
	}
	old, err := disk.ReadFile(p.o.config)
	if err != nil {
		return err
	}
	text := string(old)
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if s.implied {
		text += fmt.Sprintf("\n# To this machine alone.\n[[collector.tcp]]\nlisten = "+
			"%q\n\n[[collector.udp]]\nlisten = %[1]q\n",
			defaultListen)
	}
	files := pki.PathsIn(s.pkiDir())
	text += fmt.Sprintf("\n# Hosts that were invited join here, and send their lines here (fanin-collector pki "+
		"init).\n"+
		"[[collector.tcp]]\nlisten = %q\ntls = {cert = %q, key = %[2]q, client_ca = "+
		"%q}\n", p.listen, files.Server, files.CA)
	return p.write(p.o.config, text, true)
}

// write writes the configuration, if it has no mistakes. Its mode stays.
func (p *pkiInit) write(path, text string, replace bool) error {
	path, err := disk.Target(path)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if fi, err := os.Stat(path); err == nil {
		mode = fi.Mode().Perm()
	}
	err = p.disk.WriteTried(path, []byte(text), mode, replace, func(trial string) error {
		o := *p.o
		o.config = trial
		if _, err := o.load(); err != nil {
			return daemon.Exitf(daemon.ExitConfig, "%s was not changed, because with the new listener it would "+
				"have mistakes "+
				"(another address: --listen): %w", path, err)
		}
		return nil
	})
	if err == nil {
		escape.Fprintf(p.out, "wrote %s\n", path)
	}
	return err
}

// service makes a collector that runs read the new configuration, or starts the service.
func (p *pkiInit) service(ctx context.Context, s *settings) error {
	systemctl, err := exec.LookPath("systemctl")
	if p.noService || err != nil {
		systemctl = ""
	}
	var r reloaded
	err = ask(ctx, s.state(), "POST", "/reload", &r)
	switch running := !errors.Is(err, errNotRunning); {
	case running && err != nil:
		return fmt.Errorf("the configuration is in place, and the collector that runs does not use it: %w", err)
	case running:
		r.print(p.out)
		if systemctl != "" {
			err = p.systemctl(ctx, systemctl, "enable", serviceName)
		}
	case systemctl == "":
		escape.Fprintf(p.out, "start the collector: fanin-collector --config %s\n", p.o.config)
		err = nil
	default:
		err = p.start(ctx, systemctl, s)
	}
	if err == nil {
		escape.Fprintf(p.out, "next: fanin-collector pki invite NAME, with the name of a host "+
			"(firewalls must let %s in)\n", portOf(p.listen))
	}
	return err
}

// start starts the service, now and with the machine, and waits until it answers.
func (p *pkiInit) start(ctx context.Context, systemctl string, s *settings) error {
	if err := p.systemctl(ctx, systemctl, "enable", "--now", serviceName); err != nil {
		return err
	}
	for until := time.Now().Add(serviceTime); ; time.Sleep(100 * time.Millisecond) {
		err := ask(ctx, s.state(), "GET", "/pki/list", nil)
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("the service was started, and does not answer yet: %w; see: journalctl -u "+
				"%s", err, serviceName)
		}
	}
}

// systemctl runs it.
func (p *pkiInit) systemctl(ctx context.Context, path string, args ...string) error {
	text := "systemctl " + strings.Join(args, " ")
	if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("the configuration is in place, and this failed: %s: %w\n%ssee: journalctl -u %s", text, err,
			escape.Lines(string(out)), serviceName)
	}
	escape.Fprintf(p.out, "%s\n", text)
	return nil
}

const (
	serviceName = "fanin-collector"
	serviceTime = 30 * time.Second // to start
)

func portOf(listen string) string {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	return "TCP port " + port
}

// explain adds what to do to an error of permissions.
func (p *pkiInit) explain(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
}
