package ingest

// maxPriority is the priority of severity debug and facility local7: 8 facility + severity.
const maxPriority = 191

// Priority is the priority of a syslog message, <0> to <191> (RFC 5424, 6.2.1), and how many
// bytes it has at the beginning of b; size 0: there is none. A number with a leading zero is
// none.
func Priority(b []byte) (priority, size int) {
	if len(b) < 3 || b[0] != '<' {
		return 0, 0
	}
	for i, c := range b[1:min(len(b), len("<191>"))] {
		switch {
		case '0' <= c && c <= '9':
			priority = 10*priority + int(c-'0')
		case c != '>', i == 0, i > 1 && b[1] == '0', priority > maxPriority:
			return 0, 0
		default:
			return priority, i + 2
		}
	}
	return 0, 0
}

// SeverityName is the name of a severity, 0 to 7, as in syslog.conf(5).
func SeverityName(severity int) string {
	return [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}[severity&7]
}

// FacilityName is the name of a facility, 0 to 23, as in syslog.conf(5). RFC 5424 gives 12 to 15
// no short names: these are rsyslog's.
func FacilityName(facility int) string {
	return [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
		"ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
		"local7"}[facility]
}
