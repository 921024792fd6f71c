package collector

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"time"

	"fanin/ingest"
	"fanin/internal/certs"
	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/wire"
	"fanin/sink"
	"fanin/sink/distribute"
)

// settings is the configuration file. Every field has its default before the
// file is read; config.example.toml says what each means.
type settings struct {
	Collector collector `toml:"collector"`
	file      *config.File
}

type collector struct {
	State        string          `toml:"state"`
	DrainTimeout config.Duration `toml:"drain_timeout"`
	MaxInFlight  config.Size     `toml:"max_in_flight"`
	LogLevel     string          `toml:"log_level"`
	Log          logTable        `toml:"log"`
	Limits       limitsTable     `toml:"limits"`
	TCP          []tcpTable      `toml:"tcp"`
	UDP          []udpTable      `toml:"udp"`
	NATS         []natsTable     `toml:"nats"`
	HTTP         *httpTable      `toml:"http"`
	Work         *workTable      `toml:"work"`
}

// limitsTable bounds how many streams the log knows.
type limitsTable struct {
	Streams                int             `toml:"streams"`
	StreamsPerAgent        int             `toml:"streams_per_agent"`
	StreamsPerAddress      int             `toml:"streams_per_address"`
	UnprovenStreams        int             `toml:"unproven_streams"`
	LossyStreams           int             `toml:"lossy_streams"`
	LossyStreamsPerAddress int             `toml:"lossy_streams_per_address"`
	LossyExpiry            config.Duration `toml:"lossy_expiry"`
}

func defaultLimits() limitsTable {
	l := sink.DefaultLimits()
	return limitsTable{l.Streams, l.StreamsPerAgent, l.StreamsPerAddress, l.Unproven, l.Lossy, l.LossyPerAddress, config.Duration(l.LossyExpiry)}
}

func (l *limitsTable) limits() sink.Limits {
	return sink.Limits{Streams: l.Streams, StreamsPerAgent: l.StreamsPerAgent, StreamsPerAddress: l.StreamsPerAddress, Unproven: l.UnprovenStreams,
		Lossy: l.LossyStreams, LossyPerAddress: l.LossyStreamsPerAddress, LossyExpiry: time.Duration(orOff(int64(l.LossyExpiry)))}
}

type logTable struct {
	Path        string          `toml:"path"`
	Format      string          `toml:"format"`
	Sync        string          `toml:"sync"`
	RotateSize  config.Size     `toml:"rotate_size"`
	RotateEvery config.Duration `toml:"rotate_every"`
	RotateAt    *config.Clock   `toml:"rotate_at"`
	KeepFiles   int             `toml:"keep_files"`
	KeepAge     config.Duration `toml:"keep_age"`
	KeepBytes   config.Size     `toml:"keep_bytes"`
	Compress    string          `toml:"compress"`
	Mode        config.Mode     `toml:"mode"`
	DirMode     config.Mode     `toml:"dir_mode"`
}

type tlsTable struct {
	Cert     string `toml:"cert"`
	Key      string `toml:"key"`
	ClientCA string `toml:"client_ca"`
}

type tcpTable struct {
	Listen           string           `toml:"listen"`
	TLS              *tlsTable        `toml:"tls"`
	Insecure         bool             `toml:"insecure"`
	Source           string           `toml:"source"`
	TrustHost        bool             `toml:"trust_host"`
	MaxConns         *int             `toml:"max_conns"`
	MaxConnsPerIP    *int             `toml:"max_conns_per_ip"`
	MaxRate          *config.Size     `toml:"max_rate"`
	MaxLine          *config.Size     `toml:"max_line"`
	HandshakeTimeout *config.Duration `toml:"handshake_timeout"`
	FrameTimeout     *config.Duration `toml:"frame_timeout"`
	IdleTimeout      *config.Duration `toml:"idle_timeout"`
	ClientNames      []string         `toml:"client_names"`
}

type udpTable struct {
	Listen     string       `toml:"listen"`
	Insecure   bool         `toml:"insecure"`
	Source     string       `toml:"source"`
	ReadBuffer *config.Size `toml:"read_buffer"`
	Queue      *config.Size `toml:"queue"`
	MaxRate    *config.Size `toml:"max_rate"`
	MaxLine    *config.Size `toml:"max_line"`
}

type httpTable struct {
	Listen        string           `toml:"listen"`
	TLS           *tlsTable        `toml:"tls"`
	Insecure      bool             `toml:"insecure"`
	ClientNames   []string         `toml:"client_names"`
	Hosts         []string         `toml:"hosts"`
	Control       bool             `toml:"control"`
	MaxConns      *int             `toml:"max_conns"`
	MaxConnsPerIP *int             `toml:"max_conns_per_ip"`
	HeaderTimeout *config.Duration `toml:"header_timeout"`
	IdleTimeout   *config.Duration `toml:"idle_timeout"`
	MaxWatchers   *int             `toml:"max_watchers"`
	MaxLookbacks  *int             `toml:"max_lookbacks"`
}

type workTable struct {
	Listen           string           `toml:"listen"`
	TLS              *tlsTable        `toml:"tls"`
	Insecure         bool             `toml:"insecure"`
	ClientNames      []string         `toml:"client_names"`
	Lease            *config.Duration `toml:"lease"`
	Attempts         *int             `toml:"attempts"`
	Retry            *config.Duration `toml:"retry"`
	MaxWorkers       *int             `toml:"max_workers"`
	MaxWorkersPerIP  *int             `toml:"max_workers_per_ip"`
	MaxGroups        *int             `toml:"max_groups"`
	MaxGroupsPerIP   *int             `toml:"max_groups_per_ip"`
	MaxCredit        *int             `toml:"max_credit"`
	DeadLetters      *config.Size     `toml:"dead_letters"`
	KeepForGroups    config.Size      `toml:"keep_for_groups"`
	KeepForGroupsAge config.Duration  `toml:"keep_for_groups_age"`
}

func defaults() *settings {
	return &settings{Collector: collector{
		DrainTimeout: config.Duration(25 * time.Second),
		MaxInFlight:  24 << 20,
		LogLevel:     "info",
		Limits:       defaultLimits(),
		Log: logTable{
			Format: "syslog", Sync: "commit", Compress: "gzip", RotateSize: 256 << 20, KeepBytes: 10 << 30, Mode: 0o640, DirMode: 0o750,
		},
	}, file: &config.File{}}
}

// load makes the settings from the file and the flags, which win. All mistakes
// of both come in one error.
func (o *options) load() (*settings, error) {
	s := defaults()
	if o.config != "" {
		file, err := config.Load(o.config, s, "agent")
		if err != nil {
			return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
		}
		s.file = file
	}
	c := &s.Collector
	c.Log.Path = cmp.Or(o.out, c.Log.Path)
	c.State = cmp.Or(o.state, c.State)
	c.Log.Format = cmp.Or(o.format, c.Log.Format)
	c.Log.Sync = cmp.Or(o.sync, c.Log.Sync)
	if o.nats != "" {
		c.NATS = []natsTable{{URL: o.nats}}
	}
	if o.listen != "" || len(c.TCP) == 0 && len(c.UDP) == 0 && len(c.NATS) == 0 {
		address := cmp.Or(o.listen, "127.0.0.1:6789")
		c.TCP = []tcpTable{{Listen: address, Insecure: o.insecure}}
		c.UDP = []udpTable{{Listen: address, Insecure: o.insecure}}
	}
	for i := range c.TCP {
		c.TCP[i].Insecure = c.TCP[i].Insecure || o.insecure
	}
	for i := range c.UDP {
		c.UDP[i].Insecure = c.UDP[i].Insecure || o.insecure
	}
	for i := range c.NATS {
		c.NATS[i].Insecure = c.NATS[i].Insecure || o.insecure
	}
	if o.work != "" {
		c.Work = cmp.Or(c.Work, &workTable{})
		c.Work.Listen = o.work
	}
	if o.http != "" {
		c.HTTP = cmp.Or(c.HTTP, &httpTable{})
		c.HTTP.Listen = o.http
	}
	if c.Work != nil {
		c.Work.Insecure = c.Work.Insecure || o.insecure
	}
	if c.HTTP != nil {
		c.HTTP.Insecure = c.HTTP.Insecure || o.insecure
	}
	s.check()
	if err := s.file.Err(); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return s, nil
}

// check notes every mistake that the file's own grammar cannot know.
func (s *settings) check() {
	c, l := &s.Collector, &s.Collector.Log
	if l.Path == "" {
		s.file.Problem("collector.log.path", "collector.log.path is missing: the file to write, as in path = \"/var/log/fanin/all.log\"")
	}
	s.oneOf("collector.log.format", l.Format, "syslog", "json", "raw")
	s.oneOf("collector.log.sync", l.Sync, "commit", "none")
	s.oneOf("collector.log.compress", l.Compress, "gzip", "none")
	s.oneOf("collector.log_level", c.LogLevel, "debug", "info", "warn", "error")
	if l.RotateSize >= 0 && l.RotateSize < 64<<10 {
		s.file.Problem("collector.log.rotate_size", "rotate_size is %s; at least 64KiB, or \"off\"", l.RotateSize)
	}
	if l.RotateAt != nil && l.RotateEvery == 0 {
		s.file.Problem("collector.log.rotate_at", "rotate_at says when, and rotate_every how often: give both, as in rotate_every = \"24h\"")
	}
	if l.KeepFiles < 0 {
		s.file.Problem("collector.log.keep_files", "keep_files is %d; 0 keeps all", l.KeepFiles)
	}
	if c.MaxInFlight < 8<<20 {
		s.file.Problem("collector.max_in_flight", "max_in_flight is %s; at least 8MiB", c.MaxInFlight)
	}
	s.checkLimits()
	for i, t := range c.TCP {
		at := fmt.Sprintf("collector.tcp[%d]", i)
		s.checkListen(at, t.Listen, t.Insecure, t.TLS != nil, "give it tls = {cert = \"...\", key = \"...\", client_ca = \"...\"}")
		s.checkTLS(at, t.TLS, t.ClientNames)
		s.checkMaxLine(at, t.MaxLine)
		s.checkMaxRate(at, t.MaxRate)
	}
	for i, u := range c.UDP {
		at := fmt.Sprintf("collector.udp[%d]", i)
		s.checkListen(at, u.Listen, u.Insecure, false, "datagrams are never encrypted: use tcp")
		s.checkMaxLine(at, u.MaxLine)
		s.checkMaxRate(at, u.MaxRate)
	}
	for i := range c.NATS {
		s.checkNATS(fmt.Sprintf("collector.nats[%d]", i), &c.NATS[i])
	}
	if c.HTTP != nil {
		s.checkHTTP(c.HTTP)
	}
	if w := c.Work; w != nil {
		s.checkWork(w)
	}
	s.checkSubjects()
	s.checkPorts()
}

func (s *settings) checkLimits() {
	l := &s.Collector.Limits
	for key, n := range map[string]*int{"streams": &l.Streams, "streams_per_agent": &l.StreamsPerAgent, "streams_per_address": &l.StreamsPerAddress, "unproven_streams": &l.UnprovenStreams,
		"lossy_streams": &l.LossyStreams, "lossy_streams_per_address": &l.LossyStreamsPerAddress} {
		s.checkLeast("collector.limits."+key, n, 1)
	}
	if l.StreamsPerAgent > wire.MaxStreams {
		s.file.Problem("collector.limits.streams_per_agent", "streams_per_agent is %d; an agent takes note of %d at most", l.StreamsPerAgent, wire.MaxStreams)
	}
	if e := time.Duration(l.LossyExpiry); e != 0 && e < time.Minute {
		s.file.Problem("collector.limits.lossy_expiry", "lossy_expiry is %s; at least 1m, or \"off\"", e)
	}
}

func (s *settings) checkHTTP(h *httpTable) {
	const at = "collector.http"
	s.checkListen(at, h.Listen, h.Insecure, h.TLS != nil, "give it tls = {cert = \"...\", key = \"...\", client_ca = \"...\"}")
	s.checkTLS(at, h.TLS, h.ClientNames)
	for key, n := range map[string]*int{"max_conns": h.MaxConns, "max_conns_per_ip": h.MaxConnsPerIP} {
		s.checkBound(at+"."+key, n)
	}
	for key, n := range map[string]*int{"max_watchers": h.MaxWatchers, "max_lookbacks": h.MaxLookbacks} {
		s.checkLeast(at+"."+key, n, 1)
	}
	for key, d := range map[string]*config.Duration{"header_timeout": h.HeaderTimeout, "idle_timeout": h.IdleTimeout} {
		if d != nil && time.Duration(*d) < time.Millisecond {
			s.file.Problem(at+"."+key, "%s is %s; at least 1ms: a silent connection must not stay for ever", key, *d)
		}
	}
	for _, host := range h.Hosts {
		if !goodHost.MatchString(host) {
			s.file.Problem(at+".hosts", "%q is no host name; want a name alone, as in hosts = [\"logs.example.com\"]", host)
		}
	}
}

var goodHost = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// checkBound wants at least one, or -1 for no bound.
func (s *settings) checkBound(path string, n *int) {
	if n != nil && *n < 1 && *n != -1 {
		s.file.Problem(path, "%s is %d; at least 1, or -1 for no bound", filepath.Ext(path)[1:], *n)
	}
}

func (s *settings) checkWork(w *workTable) {
	const at = "collector.work"
	s.checkListen(at, w.Listen, w.Insecure, w.TLS != nil, "give it tls = {cert = \"...\", key = \"...\", client_ca = \"...\"}")
	s.checkTLS(at, w.TLS, w.ClientNames)
	for key, n := range map[string]*int{"max_workers_per_ip": w.MaxWorkersPerIP, "max_groups_per_ip": w.MaxGroupsPerIP} {
		s.checkBound(at+"."+key, n)
	}
	for key, n := range map[string]*int{"attempts": w.Attempts, "max_workers": w.MaxWorkers, "max_groups": w.MaxGroups, "max_credit": w.MaxCredit} {
		s.checkLeast(at+"."+key, n, 1)
	}
	if w.MaxCredit != nil && *w.MaxCredit > 1<<20 {
		s.file.Problem(at+".max_credit", "max_credit is %d; at most %d", *w.MaxCredit, 1<<20)
	}
	if w.Lease != nil && time.Duration(*w.Lease) < time.Second {
		s.file.Problem(at+".lease", "lease is %s; at least 1s", *w.Lease)
	}
	if w.Retry != nil && (time.Duration(*w.Retry) < time.Millisecond || time.Duration(*w.Retry) > time.Minute) {
		s.file.Problem(at+".retry", "retry is %s; from 1ms to 1m", *w.Retry)
	}
	if w.DeadLetters != nil && *w.DeadLetters < 1<<20 {
		s.file.Problem(at+".dead_letters", "dead_letters is %s; at least 1MiB", *w.DeadLetters)
	}
}

func (s *settings) checkLeast(path string, n *int, least int) {
	if n != nil && *n < least {
		s.file.Problem(path, "%s is %d; at least %d", filepath.Ext(path)[1:], *n, least)
	}
}

func (s *settings) oneOf(path, value string, known ...string) {
	for _, k := range known {
		if value == k {
			return
		}
	}
	s.file.Problem(path, "%s is %q; want one of %q", filepath.Ext(path)[1:], value, known)
}

// checkListen refuses what would carry lines unencrypted beyond the machine
// without anybody having said so.
func (s *settings) checkListen(at, listen string, insecure, encrypted bool, remedy string) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		s.file.Problem(at+".listen", "listen is %q; want host:port, as in \"127.0.0.1:6789\"", listen)
		return
	}
	ip := net.ParseIP(host)
	if encrypted || insecure || host == "localhost" || ip != nil && ip.IsLoopback() {
		return
	}
	s.file.Problem(at+".listen", "listen is %q, beyond this machine, and unencrypted: %s, or say insecure = true (or --insecure) if the network is yours alone", listen, remedy)
}

func (s *settings) checkTLS(at string, t *tlsTable, clientNames []string) {
	if t != nil && (t.Cert == "" || t.Key == "") {
		s.file.Problem(at+".tls", "tls needs cert and key")
	}
	if clientNames == nil {
		return
	}
	if t == nil || t.ClientCA == "" {
		s.file.Problem(at+".client_names", "client_names are names in certificates: they need client_ca in tls, which has certificates shown and verified")
	}
	if err := certs.CheckPatterns(clientNames); err != nil {
		s.file.Problem(at+".client_names", "client_names: %v", err)
	}
}

func (s *settings) checkMaxLine(at string, n *config.Size) {
	if n != nil && (*n < 256 || *n > 1<<20) {
		s.file.Problem(at+".max_line", "max_line is %s; from 256B to 1MiB", *n)
	}
}

func (s *settings) checkMaxRate(at string, n *config.Size) {
	if n != nil && *n >= 0 && *n < 64<<10 {
		s.file.Problem(at+".max_rate", "max_rate is %s a second; at least 64KiB, or \"off\"", *n)
	}
}

func (s *settings) state() string {
	return cmp.Or(s.Collector.State, sink.StateDir(s.Collector.Log.Path))
}

func (s *settings) level() slog.Level {
	var l slog.Level
	l.UnmarshalText([]byte(s.Collector.LogLevel)) // checked
	return l
}

// sink makes the sink that the settings describe.
func (s *settings) sink() *sink.Sink {
	l := &s.Collector.Log
	k := &sink.Sink{
		Path: l.Path, State: s.state(), Format: l.Format, Sync: l.Sync,
		RotateSize: orOff(int64(l.RotateSize)), RotateEvery: time.Duration(l.RotateEvery),
		KeepFiles: l.KeepFiles, KeepAge: time.Duration(l.KeepAge), KeepBytes: orOff(int64(l.KeepBytes)),
		Limits: s.Collector.Limits.limits(), Compress: l.Compress, Mode: fs.FileMode(l.Mode), DirMode: fs.FileMode(l.DirMode),
	}
	if w := s.Collector.Work; w != nil {
		k.HoldBytes, k.HoldAge = int64(w.KeepForGroups), time.Duration(w.KeepForGroupsAge)
	}
	if l.RotateAt != nil {
		k.RotateAt, k.RotateAtSet = l.RotateAt.After, true
	}
	return k
}

// orOff turns 0 into "no bound": a zero field would be the default.
func orOff(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func (t *tcpTable) listener(log *slog.Logger) (*ingest.TCP, error) {
	l := &ingest.TCP{
		Source: t.Source, Log: log, TrustHost: t.TrustHost, MaxConns: orZero(t.MaxConns), MaxConnsPerIP: orZero(t.MaxConnsPerIP), MaxLine: int(orZero(t.MaxLine)),
		HandshakeTimeout: time.Duration(orZero(t.HandshakeTimeout)), FrameTimeout: time.Duration(orZero(t.FrameTimeout)),
		IdleTimeout: time.Duration(orZero(t.IdleTimeout)), MaxRate: int64(orZero(t.MaxRate)),
	}
	if t.TLS == nil {
		return l, nil
	}
	var err error
	l.RequireAgentCert, l.Allowed = t.TLS.ClientCA != "", certs.Named(t.ClientNames)
	l.TLS, err = t.TLS.server(log)
	l.ExplainTLS = t.TLS.files(log).ExplainServer
	return l, err
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (t *tlsTable) server(log *slog.Logger) (*tls.Config, error) {
	return t.files(log).Server()
}

// distributor makes the work distributor that the settings describe.
func (w *workTable) distributor(k *sink.Sink, maxWorkers int, log *slog.Logger) (*distribute.Distributor, error) {
	d := &distribute.Distributor{
		Sink: k, Log: log, Lease: time.Duration(orZero(w.Lease)), Retry: time.Duration(orZero(w.Retry)), Attempts: orZero(w.Attempts), MaxWorkers: maxWorkers,
		MaxWorkersPerIP: orZero(w.MaxWorkersPerIP), MaxGroups: orZero(w.MaxGroups), MaxGroupsPerIP: orZero(w.MaxGroupsPerIP), MaxCredit: orZero(w.MaxCredit), DeadLetterBytes: int64(orZero(w.DeadLetters)),
	}
	if w.TLS == nil {
		return d, nil
	}
	var err error
	d.Allowed = certs.Named(w.ClientNames)
	d.TLS, err = w.TLS.server(log)
	return d, err
}
