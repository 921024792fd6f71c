package collector

import (
	"slices"

	redisin "fanin/ingest/redis"
)

// checkOverlaps refuses what would be received twice: within the table, and with the tables
// of the same server before it.
func (t *redisTable) checkOverlaps(c *checks) {
	for _, o := range c.others {
		other, ok := o.table.(*redisTable)
		if !ok || !other.sameServer(t) {
			continue
		}
		for _, mine := range t.Channels {
			for _, theirs := range other.Channels {
				if redisin.Overlap(mine, theirs) {
					c.Problem("channels", "%q overlaps %q of %s: messages would be received twice; use one of them",
						mine, theirs, o.at)
				}
			}
		}
		if t.db() == other.db() {
			checkTwice(c, "streams", t.Streams, other.Streams, o.at)
			checkTwice(c, "lists", t.Lists, other.Lists, o.at)
		}
	}
}

// checkTwice refuses keys that another table reads.
func checkTwice(c *checks, key string, mine, theirs []string, at string) {
	for _, name := range mine {
		if slices.Contains(theirs, name) {
			c.Problem(key, "%q is read by %s, too: name it once", name, at)
		}
	}
}

// sameServer reports whether two tables lead to one server.
func (t *redisTable) sameServer(u *redisTable) bool {
	x, y := t.login(), u.login()
	return x.SameServer(&y)
}

// db is the database of the table.
func (t *redisTable) db() int {
	l := t.login()
	return l.DB()
}
