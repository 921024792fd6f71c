package collector

import (
	"math"
	"strings"
	"testing"
	"time"

	"fanin/internal/config"
)

// The mistakes in [collector.archive] are named, each with its key.
func TestArchiveTable(t *testing.T) {
	const keys = "access_key_file = \"/k\"\nsecret_key_file = \"/s\"\n"
	for table, want := range map[string]string{
		"":                                     "to is missing",
		"to = \"/mnt\"":                        "want file:///DIRECTORY or s3://BUCKET/PREFIX",
		"to = \"file:///a\"":                   "",
		"to = \"file:///a\"\nregion = \"r\"":   "region has no effect with file://",
		"to = \"file:///a\"\ncheck = \"none\"": "check",
		"to = \"s3://logs\"":                   "access_key_file is missing",
		"to = \"s3://logs\"\n" + keys:          "",
		"to = \"s3://logs\"\nendpoint = \"h\"\n" + keys:                                          "endpoint is \"h\": want a URL",
		"to = \"s3://logs\"\nendpoint = \"http://192.0.2.1:9000\"\n" + keys:                      "is not encrypted",
		"to = \"s3://logs\"\nendpoint = \"http://192.0.2.1:9000\"\ninsecure = true\n" + keys:     "",
		"to = \"s3://logs\"\nendpoint = \"http://127.0.0.1:9000\"\ncheck = \"size\"\n" + keys:    "",
		"to = \"s3://logs\"\nendpoint = \"https://s3.example.net\"\nregion = \"eu\"\n" + keys:    "",
		"to = \"s3://logs\"\ntls = {cert = \"c\"}\n" + keys:                                      "key",
		"to = \"s3://logs\"\nkeep_for_archive = \"off\"\nkeep_for_archive_age = \"7d\"\n" + keys: "",
	} {
		s := defaults()
		file, err := config.Parse("collector.toml", "[collector.log]\npath = \"/a\"\n[collector.archive]\n"+table, s, "agent")
		if err != nil {
			t.Fatal(table, err)
		}
		s.file = file
		s.check()
		if err := s.file.Err(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v; want %q", table, err, want)
		}
	}
}

// Files that are not archived are kept up to twice keep_bytes, or as the table says.
func TestArchiveHold(t *testing.T) {
	off, most := config.Size(0), config.Size(5)
	for _, c := range []struct {
		table *archiveTable
		keep  config.Size
		bytes int64
		age   time.Duration
	}{
		{nil, 10, 20, 0},
		{&archiveTable{}, 10, 20, 0},
		{&archiveTable{}, 0, math.MaxInt64, 0},
		{&archiveTable{}, math.MaxInt64, math.MaxInt64, 0},
		{&archiveTable{Keep: &off}, 10, 0, 0},
		{&archiveTable{Keep: &most, KeepAge: config.Duration(time.Hour)}, 10, 5, time.Hour},
	} {
		if bytes, age := c.table.hold(c.keep); bytes != c.bytes || age != c.age {
			t.Errorf("%+v with keep_bytes %d: %d bytes, %s", c.table, c.keep, bytes, age)
		}
	}
}
