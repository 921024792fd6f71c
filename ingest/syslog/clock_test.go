package syslog

import (
	"testing"
	"time"

	"fanin/ingest"
)

// TestTimes: the time of a header is that of the line, if it can be.
func TestTimes(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	const head = "<13>"
	for _, x := range []struct {
		now, header string
		zone        *time.Location
		want        string
		why         unused
	}{
		{"2026-11-26T12:00:00Z", "Nov 26 11:59:58", time.UTC, "2026-11-26T11:59:58Z", taken},
		{"2026-11-26T12:00:00Z", "Nov 26 11:59:58", nil, "", noZone},
		{"2026-11-26T12:00:00Z", "Nov 26 11:59:58Z", nil, "2026-11-26T11:59:58Z", taken},
		{"2026-11-26T12:00:00Z", "Nov 26 12:59:58+01:00", nil, "2026-11-26T11:59:58Z", taken},
		{"2026-11-26T12:00:00Z", "Nov 26 12:59:58", berlin, "2026-11-26T11:59:58Z", taken},
		{"2026-07-26T12:00:00Z", "Jul 26 13:59:58", berlin, "2026-07-26T11:59:58Z", taken},
		{"2026-11-26T12:00:00Z", "2026-11-26T12:59:58", berlin, "2026-11-26T11:59:58Z", taken},
		{"2026-11-26T12:00:00Z", "2026-11-26T12:59:58", nil, "", noZone},
		{"2026-11-26T12:00:00Z", "2026-11-26T06:29:58.123456789-05:30", nil, "2026-11-26T11:59:58.123456Z", taken},
		{"2026-11-26T12:00:00Z", "2026-11-26T06:29:58,5-05:30", nil, "", taken},
		// The year is the one that makes it closest.
		{"2027-01-01T00:00:05Z", "Dec 31 23:59:58", time.UTC, "2026-12-31T23:59:58Z", taken},
		{"2026-12-31T23:59:58Z", "Jan  1 00:00:05", time.UTC, "2027-01-01T00:00:05Z", taken},
		{"2028-02-29T12:00:00Z", "Feb 29 11:59:58", time.UTC, "2028-02-29T11:59:58Z", taken},
		{"2028-03-01T00:00:05Z", "Feb 29 23:59:58", time.UTC, "2028-02-29T23:59:58Z", taken},
		{"2026-03-01T00:00:05Z", "Feb 29 23:59:58", time.UTC, "", invalid},
		{"2027-03-01T00:00:05Z", "Feb 29 23:59:58", time.UTC, "", far},
		{"2026-04-30T12:00:00Z", "Apr 31 12:00:00", time.UTC, "", invalid},
		{"2026-12-31T23:59:59Z", "2026-12-31T23:59:60Z", nil, "2027-01-01T00:00:00Z", taken},
		// A day is a day.
		{"2026-11-26T12:00:00Z", "Nov 25 12:00:00", time.UTC, "2026-11-25T12:00:00Z", taken},
		{"2026-11-26T12:00:00Z", "Nov 25 11:59:59", time.UTC, "", far},
		{"2026-11-26T12:00:00Z", "Nov 27 12:00:00.000001", time.UTC, "", far},
		{"2026-11-26T12:00:00Z", "0000-01-01T00:00:00Z", nil, "", far},
		{"2026-11-26T12:00:00Z", "9999-12-31T23:59:59Z", nil, "", far},
		{"2026-11-26T12:00:00Z", "Nov 26 12:00:00 UTC", nil, "2026-11-26T12:00:00Z", taken},
	} {
		now, err := time.Parse(time.RFC3339, x.now)
		if err != nil {
			t.Fatal(err)
		}
		want := time.Time{}
		if x.want != "" {
			if want, err = time.Parse(time.RFC3339Nano, x.want); err != nil {
				t.Fatal(err)
			}
		}
		s := Settings{SenderTime: true, Zone: x.zone, Metrics: new(ingest.Metrics)}
		scanner := s.New()
		for range 3 { // also from what it remembers
			_, labels := scanner.Scan(nil, []byte(head+x.header+" web1 app: text"), &Origin{Host: "h", Now: now})
			if !labels.Time.Equal(want) || scanner.unused != x.why && x.header[19] != ',' {
				t.Errorf("%s, read at %s in %v, is %v, because %q; want %v", x.header, x.now, x.zone, labels.Time, scanner.unused, want)
			}
		}
		if x.why != taken && valueOf(t, scanner.clock.counts[x.why]) != 3 {
			t.Errorf("%s is not counted", x.header)
		}
	}
}

// TestTimesFollow: the times of messages one behind the other are each their own.
func TestTimesFollow(t *testing.T) {
	s := Settings{SenderTime: true, Zone: time.UTC}
	scanner := s.New()
	at := time.Date(2026, 12, 31, 23, 59, 50, 0, time.UTC)
	for i := range 200 {
		sent := at.Add(time.Duration(i) * 100 * time.Millisecond)
		for _, msg := range []string{"<13>" + sent.Format("Jan _2 15:04:05.000") + " web1 app: text", "<13>1 " + sent.Format(time.RFC3339Nano) + " web1 app - - - text"} {
			_, labels := scanner.Scan(nil, []byte(msg), &Origin{Host: "h", Now: sent.Add(time.Second)})
			if !labels.Time.Equal(sent) {
				t.Fatalf("%s has the time %s", msg, labels.Time)
			}
		}
	}
}
