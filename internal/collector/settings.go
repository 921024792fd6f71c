package collector

import (
	"cmp"
	"io/fs"
	"log/slog"
	"time"

	"fanin/internal/config"
	"fanin/internal/daemon"
	"fanin/internal/wire"
	"fanin/sink"
)

// settings is the configuration file. Every field has its default before the
// file is read; config.example.toml explains each.
type settings struct {
	Collector collectorTable `toml:"collector"`
	file      *config.File
	insecure  bool   // the flag --insecure
	partition string // of a cluster, that these settings are of; "": of all
	implied   bool   // neither file nor flags name an input: the default ones are used
}

type collectorTable struct {
	State        string          `toml:"state"`
	DrainTimeout config.Duration `toml:"drain_timeout"`
	MaxInFlight  config.Size     `toml:"max_in_flight"`
	LogLevel     string          `toml:"log_level"`
	Log          logTable        `toml:"log"`
	Limits       limitsTable     `toml:"limits"`
	Inputs       inputTables     `toml:"*"`
	HTTP         *httpTable      `toml:"http"`
	Work         *workTable      `toml:"work"`
	Relay        *relayTable     `toml:"relay"`
	Archive      *archiveTable   `toml:"archive"`
	Cluster      *clusterTable   `toml:"cluster"`
	Access       []accessTable   `toml:"access"`
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
	return limitsTable{l.Streams, l.StreamsPerAgent, l.StreamsPerAddress, l.Unproven, l.Lossy, l.LossyPerAddress,
		config.Duration(l.LossyExpiry)}
}

func (l *limitsTable) limits() sink.Limits {
	return sink.Limits{Streams: l.Streams, StreamsPerAgent: l.StreamsPerAgent, StreamsPerAddress: l.StreamsPerAddress,
		Unproven: l.UnprovenStreams, Lossy: l.LossyStreams, LossyPerAddress: l.LossyStreamsPerAddress,
		LossyExpiry: time.Duration(orOff(int64(l.LossyExpiry)))}
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

// leastRotateSize is the least size at which a file is rotated.
const leastRotateSize = 64 << 10

func defaults() *settings {
	return &settings{Collector: collectorTable{
		DrainTimeout: config.Duration(25 * time.Second),
		MaxInFlight:  24 << 20,
		LogLevel:     "info",
		Limits:       defaultLimits(),
		Log: logTable{
			Format: "syslog", Sync: "commit", Compress: "gzip", RotateSize: 256 << 20, KeepBytes: 10 << 30,
			Mode: 0o640, DirMode: 0o750,
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
	s.apply(o)
	s.check()
	if err := s.file.Err(); err != nil {
		return nil, &daemon.Exit{Code: daemon.ExitConfig, Err: err}
	}
	return s, nil
}

// defaultListen is where the collector listens if the configuration has no input.
const defaultListen = "127.0.0.1:6789"

// apply sets what the flags set.
func (s *settings) apply(o *options) {
	c := &s.Collector
	s.insecure = o.insecure
	c.Log.Path = cmp.Or(o.out, c.Log.Path)
	c.State = cmp.Or(o.state, c.State)
	c.Log.Format = cmp.Or(o.format, c.Log.Format)
	c.Log.Sync = cmp.Or(o.sync, c.Log.Sync)
	if o.nats != "" {
		c.Inputs.replace("nats", &natsTable{URL: o.nats})
	}
	s.implied = o.listen == "" && len(c.Inputs) == 0 && c.Cluster == nil
	if o.listen != "" || s.implied {
		address := cmp.Or(o.listen, defaultListen)
		c.Inputs.replace("tcp", &tcpTable{Listen: address})
		c.Inputs.replace("udp", &udpTable{Listen: address})
	}
	if o.work != "" {
		c.Work = cmp.Or(c.Work, &workTable{})
		c.Work.Listen = o.work
	}
	if o.http != "" {
		c.HTTP = cmp.Or(c.HTTP, &httpTable{})
		c.HTTP.Listen = o.http
	}
}

// check reports every mistake that the file's own grammar cannot know.
func (s *settings) check() {
	c := &s.Collector
	at := s.file.Table("collector")
	at.OneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	if c.MaxInFlight < 8<<20 {
		at.Problem("max_in_flight", "max_in_flight is %s; want at least 8MiB", c.MaxInFlight)
	}
	c.Log.check(at.Sub("log"))
	c.Limits.check(at.Sub("limits"))
	c.Inputs.check(s.file, s.insecure)
	if c.HTTP != nil {
		c.HTTP.check(&checks{Table: at.Sub("http"), insecure: s.insecure})
	}
	if c.Work != nil {
		c.Work.check(&checks{Table: at.Sub("work"), insecure: s.insecure})
	}
	if c.Relay != nil {
		c.Relay.check(&checks{Table: at.Sub("relay"), insecure: s.insecure}, c.Log.Format)
	}
	if c.Archive != nil {
		c.Archive.check(&checks{Table: at.Sub("archive"), insecure: s.insecure})
	}
	s.checkCluster()
	s.checkAccess()
	s.checkPorts()
}

func (l *logTable) check(at config.Table) {
	if l.Path == "" {
		at.Problem("path", "collector.log.path is missing: the file to write, as in path = \"/var/log/fanin/all.log\"")
	}
	at.OneOf("format", l.Format, "syslog", "json", "raw")
	at.OneOf("sync", l.Sync, "commit", "none")
	at.OneOf("compress", l.Compress, "gzip", "none")
	at.SizeOrOff("rotate_size", &l.RotateSize, leastRotateSize)
	if l.RotateAt != nil && l.RotateEvery == 0 {
		at.Problem("rotate_at", "rotate_at needs rotate_every, as in rotate_every = \"24h\"")
	}
	if l.KeepFiles < 0 {
		at.Problem("keep_files", "keep_files is %d; want 0, which keeps all, or more", l.KeepFiles)
	}
}

func (l *limitsTable) check(at config.Table) {
	at.AtLeast("streams", &l.Streams, 1)
	at.AtLeast("streams_per_agent", &l.StreamsPerAgent, 1)
	at.AtLeast("streams_per_address", &l.StreamsPerAddress, 1)
	at.AtLeast("unproven_streams", &l.UnprovenStreams, 1)
	at.AtLeast("lossy_streams", &l.LossyStreams, 1)
	at.AtLeast("lossy_streams_per_address", &l.LossyStreamsPerAddress, 1)
	if l.StreamsPerAgent > wire.MaxStreams {
		at.Problem("streams_per_agent", "streams_per_agent is %d; want at most %d, which is what an agent accepts",
			l.StreamsPerAgent, wire.MaxStreams)
	}
	if e := time.Duration(l.LossyExpiry); e != 0 && e < time.Minute {
		at.Problem("lossy_expiry", "lossy_expiry is %s; want at least 1m, or \"off\"", e)
	}
}

func (s *settings) state() string {
	if s.Collector.Cluster != nil {
		return cmp.Or(s.Collector.State, clusterState(s.Collector.Log.Path))
	}
	return cmp.Or(s.Collector.State, sink.StateDir(s.Collector.Log.Path))
}

// level is that of the log of the program itself.
func (s *settings) level() (level slog.Level) {
	level.UnmarshalText([]byte(s.Collector.LogLevel)) // checked
	return level
}

// maxLookbacks is how many watchers may look back into the log at a time; 0: as many as usual.
func (s *settings) maxLookbacks() int {
	if h := s.Collector.HTTP; h != nil {
		return config.OrZero(h.MaxLookbacks)
	}
	return 0
}

// sink makes the sink that the settings describe.
func (s *settings) sink() *sink.Sink {
	l, p := &s.Collector.Log, s.policies()
	return &sink.Sink{
		Path: l.Path, State: s.state(), Format: l.Format, Sync: l.Sync,
		Rotation: p.Rotation, Retention: p.Retention, Limits: p.Limits,
		Modes: sink.FileModes{File: fs.FileMode(l.Mode), Dir: fs.FileMode(l.DirMode)},
	}
}

// policies are what may change while the log is open.
func (s *settings) policies() sink.Policies {
	l := &s.Collector.Log
	p := sink.Policies{
		Rotation: sink.RotationPolicy{Size: orOff(int64(l.RotateSize)), Every: time.Duration(l.RotateEvery)},
		Retention: sink.RetentionPolicy{
			Files: l.KeepFiles, Age: time.Duration(l.KeepAge), Bytes: orOff(int64(l.KeepBytes)), Compress: l.Compress,
		},
		Limits: s.Collector.Limits.limits(),
	}
	if w := s.Collector.Work; w != nil {
		p.Retention.HoldBytes, p.Retention.HoldAge = int64(w.KeepForGroups), time.Duration(w.KeepForGroupsAge)
	}
	if r := s.Collector.Relay; r != nil {
		p.Retention.HoldRelay, p.Retention.HoldRelayAge = int64(r.KeepForUpstream), time.Duration(r.KeepAge)
	}
	p.Retention.HoldArchive, p.Retention.HoldArchiveAge = s.Collector.Archive.hold(l.KeepBytes)
	if l.RotateAt != nil {
		p.Rotation.At, p.Rotation.AtSet = l.RotateAt.After, true
	}
	return p
}

// orOff turns 0 into "no limit": a zero field would be the default.
func orOff(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}
