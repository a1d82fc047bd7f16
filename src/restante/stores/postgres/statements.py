"""The statements of a store in PostgreSQL. Each is a transaction of its own.

So no row stays locked for a node that was cut off in the middle, and each costs one round trip.
Only the database's clock counts: now(). A statement has one snapshot, which is taken when it
begins. After it has waited for a row's lock, only that row is looked at anew: where that matters,
it is said below. Where several rows are locked, it is in this order: bodies, maildrops by their
ids, messages.
"""

from __future__ import annotations

from restante.accounts.kept import ROW_VERSION

ACCOUNT = """
    SELECT $KEY::text IS NULL OR $VERSION::text = (
        SELECT ROW_VERSION FROM {schema}.accounts AS a WHERE a.name_key = $KEY
    ) IS TRUE AS unchanged
""".replace("ROW_VERSION", ROW_VERSION)
"""Whether the account is as its `AccountRow` says; no key: nobody asks."""

LISTING = """
    SELECT string_agg(unique_id, ' ') AS unique_ids, array_agg(octets) AS octets,
        string_agg(concat_ws(' ', unique_id, ascii_octets, utf8), ' ') FILTER (WHERE utf8 > 0)
            AS with_utf8
    FROM (
        SELECT unique_id, octets, ascii_octets, utf8 FROM {schema}.messages
        WHERE maildrop = $MAILDROP AND removed IS NULL ORDER BY arrived, number
    ) AS listed
"""
"""A listing in one row, as rows and texts by themselves take long to be read: no unique-id has a
space (RFC 1939 §7)."""

# Maildrops

OPEN = """
WITH account AS MATERIALIZED (
    SELECT unchanged, now() + $4::float8 * ($5::bigint - 1) * interval '1 second' AS latest
    FROM (ACCOUNT) AS looked_at
), held AS (
    UPDATE {schema}.maildrops
    SET lease = lease + 1, holder = $2, expires = now() + $3::float8 * interval '1 second',
        opened = CASE WHEN $4 = 0 OR holder = $2 THEN opened WHEN opened > latest THEN now()
            ELSE greatest(now(), opened + $4 * interval '1 second') END
    FROM account WHERE name = $1 AND unchanged AND (
        holder = $2 OR (holder IS NULL OR expires <= now()) AND (
            $4 = 0 OR opened IS NULL OR opened > latest
            OR opened + $4 * (2 - $5) * interval '1 second' <= now()
        )
    )
    RETURNING id, lease, removals
)
SELECT account.unchanged, seen.id, held.lease, seen.holder,
    held.removals <> seen.removals AS stale,
    CASE WHEN $4 > 0 AND seen.opened <= latest
        THEN extract(epoch FROM seen.opened - now())::float8 + $4 * (2 - $5) END AS wait,
    CASE WHEN $4 > 0 AND held.lease = seen.lease + 1
        THEN coalesce(extract(epoch FROM seen.opened)::float8, 0) END AS opened_before, listing.*
FROM account LEFT JOIN {schema}.maildrops AS seen ON seen.name = $1
LEFT JOIN held ON held.id = seen.id LEFT JOIN LATERAL (LISTING) AS listing ON TRUE
""".replace("ACCOUNT", ACCOUNT.replace("$KEY", "$6").replace("$VERSION", "$7")).replace(
    "LISTING", LISTING.replace("$MAILDROP", "held.id")
)
"""Take the lease, and list. $1 name, $2 holder, $3 seconds, $4 LOGIN-DELAY, $5 how many sessions
may begin at once before it is felt, $6 and $7 `key` and `version` of the account's row. Nothing is
done if the account has changed.

`opened` that is later than sessions could make it (`latest`), as after a shorter LOGIN-DELAY or a
wrong clock, is none. `opened_before` is for `STEP_BACK`; NULL if it isn't known.

The holder is this session's alone: one that asks again, as the answer was lost, has its lease.
The listing is of the statement's snapshot, which may be older than the lease: `stale`, if another
session has removed messages between the two. Then it must be read again (`LIST`). No id: there is
no such maildrop. No lease: it is too soon, if `wait` is more than 0, or `holder` has it.
"""

PEEK = """
SELECT account.unchanged, seen.id, listing.* FROM (ACCOUNT) AS account
LEFT JOIN {schema}.maildrops AS seen ON account.unchanged AND seen.name = $1
LEFT JOIN LATERAL (LISTING) AS listing ON TRUE
""".replace("ACCOUNT", ACCOUNT.replace("$KEY", "$2").replace("$VERSION", "$3")).replace(
    "LISTING", LISTING.replace("$MAILDROP", "seen.id")
)
"""List without a lease. $1 name, $2 and $3 as $6 and $7 of `OPEN`."""

LIST = LISTING.replace("$MAILDROP", "$1")
"""List again. $1 maildrop."""

MAKE_MAILDROPS = """
INSERT INTO {schema}.maildrops (name) SELECT DISTINCT name FROM unnest($1::text[]) AS g (name)
WHERE NOT EXISTS (SELECT FROM {schema}.maildrops AS m WHERE m.name = g.name)
ORDER BY name ON CONFLICT (name) DO NOTHING
"""

RENEW = """
UPDATE {schema}.maildrops SET expires = now() + $3::float8 * interval '1 second'
WHERE id = $1 AND lease = $2 AND holder IS NOT NULL RETURNING lease
"""

RELEASE = """
UPDATE {schema}.maildrops SET holder = NULL
WHERE id = $1 AND lease = $2 AND holder IS NOT NULL RETURNING lease
"""

STEP_BACK = RELEASE.replace("NULL\n", "NULL, opened = to_timestamp($3::float8)\n", 1)
"""The same for a session that didn't begin after all: it costs no LOGIN-DELAY. $3 `opened_before`
of `OPEN`."""

COMMIT = """
WITH held AS MATERIALIZED (
    SELECT id FROM {schema}.maildrops
    WHERE id = $1 AND ($2::bigint IS NULL OR lease = $2 AND holder IS NOT NULL)
    FOR NO KEY UPDATE
), gone AS (
    UPDATE {schema}.messages AS m SET removed = now() FROM held
    WHERE m.maildrop = held.id AND m.unique_id = ANY($3::text[]) AND m.removed IS NULL
    RETURNING m.octets
)
UPDATE {schema}.maildrops AS d
SET removals = removals + 1, messages = messages - (SELECT count(*) FROM gone),
    octets = octets - (SELECT coalesce(sum(gone.octets), 0) FROM gone)
FROM held WHERE d.id = held.id RETURNING d.id
"""
"""Remove messages. $1 maildrop, $2 lease (NULL: without), $3 unique-ids. No row: lease lost."""

FETCH = """
SELECT b.id, b.digest, b.octets AS body_octets, b.stored_octets, b.encoding, b.header_end,
    b.needs_stuffing, b.dots, m.octets, m.ascii_octets, m.utf8
FROM {schema}.messages AS m JOIN {schema}.bodies AS b ON b.id = m.body
WHERE m.maildrop = $1 AND m.unique_id = $2 AND m.removed IS NULL
"""

FETCH_BOTH = FETCH.replace(
    "m.utf8\n",
    """m.utf8, (
    SELECT substring(k.octets FOR CASE
        WHEN b.octets <= $3::integer THEN $3::integer
        ELSE least($3::bigint, b.header_end + $4::bigint)::integer
    END) FROM {schema}.blocks AS k WHERE k.body = b.id AND k.number = 0
) AS first
""",
)
"""The same, with octets of a body that lies in PostgreSQL: of a small one all. $3 at most so many,
$4 so many beside the header."""

# Deliveries

FIND_BODY = """
UPDATE {schema}.bodies SET used = now() WHERE digest = $1 AND state <> 'doomed'
RETURNING id, state, encoding
"""

MAKE_BODY = """
INSERT INTO {schema}.bodies AS b
    (digest, octets, stored_octets, encoding, header_end, needs_stuffing, dots)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (digest) WHERE state <> 'doomed' DO UPDATE SET used = now()
RETURNING id, state, encoding
"""

DELIVER = """
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::smallint[],
        $7::float8[], $8::boolean[], $9::bigint[], $10::bigint[]
    ) WITH ORDINALITY AS g (
        name, body, unique_id, octets, ascii_octets, utf8,
        arrived, pinned, most_messages, most_octets, place
    )
), kept AS MATERIALIZED (
    SELECT id FROM {schema}.bodies WHERE id = ANY($2) AND state <> 'doomed'
    ORDER BY id FOR NO KEY UPDATE
), whole AS MATERIALIZED (
    SELECT NOT EXISTS (SELECT FROM given WHERE body NOT IN (SELECT id FROM kept)) AS have_bodies
), drops AS MATERIALIZED (
    SELECT d.id, d.name, d.messages, d.octets FROM {schema}.maildrops AS d
    WHERE d.name = ANY($1) AND (SELECT have_bodies FROM whole)
    ORDER BY d.id FOR NO KEY UPDATE
), judged AS MATERIALIZED (
    SELECT g.*, d.id AS maildrop, m.maildrop IS NOT NULL AS known,
        coalesce(m.body = g.body AND NOT g.pinned, FALSE) AS same,
        coalesce(d.messages + count(*) OVER earlier <= g.most_messages, TRUE)
        AND coalesce(d.octets + sum(g.octets) OVER earlier <= g.most_octets, TRUE) AS fits
    FROM given AS g LEFT JOIN drops AS d ON d.name = g.name
    LEFT JOIN {schema}.messages AS m ON m.maildrop = d.id AND m.unique_id = g.unique_id
    WINDOW earlier AS (PARTITION BY g.name ORDER BY g.place)
), chosen AS MATERIALIZED (
    SELECT * FROM judged WHERE maildrop IS NOT NULL AND NOT known AND fits AND (
        NOT $11::boolean
        OR (SELECT bool_and(maildrop IS NOT NULL AND (same OR fits AND NOT known)) FROM judged)
    )
), inserted AS (
    INSERT INTO {schema}.messages
        (maildrop, unique_id, body, octets, ascii_octets, utf8, pinned, arrived)
    SELECT maildrop, unique_id, body, octets, ascii_octets, utf8, pinned,
        coalesce(to_timestamp(arrived), now())
    FROM chosen ORDER BY place
    ON CONFLICT (maildrop, unique_id) DO NOTHING RETURNING maildrop, unique_id, octets
), counted AS (
    UPDATE {schema}.maildrops AS d SET messages = d.messages + n.messages,
        octets = d.octets + n.octets
    FROM (
        SELECT maildrop, count(*) AS messages, sum(octets) AS octets FROM inserted
        GROUP BY maildrop
    ) AS n WHERE d.id = n.maildrop
), stored AS (
    UPDATE {schema}.bodies SET state = 'stored', used = now(), unused = FALSE
    WHERE id IN (SELECT body FROM chosen)
)
SELECT whole.have_bodies, judged.maildrop, judged.known, judged.same, judged.fits,
    inserted.unique_id IS NOT NULL AS done
FROM whole CROSS JOIN judged LEFT JOIN inserted
    ON inserted.maildrop = judged.maildrop AND inserted.unique_id = judged.unique_id
ORDER BY judged.place
"""
"""Put messages into their maildrops; a row for each. $11: all of them, or none.

have_bodies: FALSE if the collector has doomed a body: nothing was done. maildrop: NULL if it must
be made first. known: the maildrop has, or had, that unique-id; same: it is of our own making and
for this very body, so that asking again does no harm. fits: the quota has room for it and for those
before it. done: it is there now, by this. None of known, fits and done may hold while the same is
done at the same time: ask again then.

`used` and the counts of the maildrops are those of the locked rows. `used = now()` keeps the
collector away, which may have looked for messages before these were there.
"""

LIVE_BODIES = "SELECT id FROM {schema}.bodies WHERE id = ANY($1::bigint[]) AND state <> 'doomed'"
"""Those that the collector has not given up. The others never come back."""

ARRIVED = """
SELECT extract(epoch FROM arrived)::float8 AS arrived FROM {schema}.messages
WHERE maildrop = $1 AND unique_id = $2 AND removed IS NULL
"""

USAGE = "SELECT messages, octets FROM {schema}.maildrops WHERE name = $1"

MAILDROP = "SELECT id FROM {schema}.maildrops WHERE name = $1"

MAILDROPS = "SELECT name FROM {schema}.maildrops ORDER BY name"

REMOVED = """
SELECT unique_id, octets, extract(epoch FROM removed)::float8 AS removed FROM {schema}.messages
WHERE maildrop = (SELECT id FROM {schema}.maildrops WHERE name = $1) AND body IS NOT NULL
    AND removed >= now() - $2::float8 * interval '1 second'
ORDER BY removed, arrived, number
"""

UNDELETE = """
WITH held AS MATERIALIZED (
    SELECT id FROM {schema}.maildrops WHERE name = $1 FOR NO KEY UPDATE
), back AS (
    UPDATE {schema}.messages AS m SET removed = NULL FROM held
    WHERE m.maildrop = held.id AND m.removed >= now() - $2::float8 * interval '1 second'
        AND m.body IS NOT NULL
    RETURNING m.octets
)
UPDATE {schema}.maildrops AS d SET messages = messages + (SELECT count(*) FROM back),
    octets = octets + (SELECT coalesce(sum(back.octets), 0) FROM back)
FROM held WHERE d.id = held.id RETURNING (SELECT count(*) FROM back) AS messages
"""

# The collector. One collects at a time, as far as the rows of messages go.

FORGET = """
WITH old AS MATERIALIZED (
    SELECT maildrop, unique_id, body, pinned FROM {schema}.messages
    WHERE (SELECT pg_try_advisory_xact_lock(hashtext('restante collects'), hashtext($3)))
        AND removed < now() - $1::float8 * interval '1 second' AND body IS NOT NULL
    ORDER BY removed LIMIT $2 FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM {schema}.messages AS m USING old
    WHERE m.maildrop = old.maildrop AND m.unique_id = old.unique_id AND NOT old.pinned
), emptied AS (
    UPDATE {schema}.messages AS m SET body = NULL FROM old
    WHERE m.maildrop = old.maildrop AND m.unique_id = old.unique_id AND old.pinned
), marked AS (
    UPDATE {schema}.bodies SET unused = TRUE WHERE id IN (SELECT body FROM old)
)
SELECT count(*) AS messages FROM old
"""
"""Forget removed messages. $1: removed so many seconds ago, $2: at most so many, $3 schema."""

COLLECT_ALONE = """
SELECT pg_try_advisory_xact_lock(hashtext('restante collects'), hashtext($1)) AS alone
"""

STILL_USED = """
UPDATE {schema}.bodies AS b SET unused = FALSE WHERE unused AND state = 'stored'
    AND EXISTS (SELECT FROM {schema}.messages AS m WHERE m.body = b.id)
"""
"""Bodies whose message was forgotten, and that another one has. It comes after COLLECT_ALONE in a
transaction: if its snapshot were older than the lock, it could miss what FORGET has done."""

DOOM = """
UPDATE {schema}.bodies AS b SET state = 'doomed' FROM (
    SELECT id FROM {schema}.bodies WHERE unused AND state <> 'doomed'
        AND used < now() - $1::float8 * interval '1 second'
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
) AS old
WHERE b.id = old.id AND b.used < now() - $1::float8 * interval '1 second'
    AND NOT EXISTS (SELECT FROM {schema}.messages AS m WHERE m.body = b.id)
RETURNING b.id
"""
"""Give up bodies that no message has, removed ones included. $1 grace in seconds, $2 at most."""

DOOMED = """
SELECT id, digest, encoding FROM {schema}.bodies WHERE unused AND state = 'doomed'
ORDER BY id LIMIT $1
"""

DROP_BODIES = "DELETE FROM {schema}.bodies WHERE id = ANY($1::bigint[]) AND state = 'doomed'"

# Leases, for operators

LEASES = """
SELECT name, holder, extract(epoch FROM expires)::float8 AS expires FROM {schema}.maildrops
WHERE holder IS NOT NULL AND expires > now() ORDER BY name
"""

TAKE_LEASE = """
UPDATE {schema}.maildrops SET lease = lease + 1, holder = NULL
WHERE name = $1 AND holder IS NOT NULL RETURNING lease
"""

# Bodies in PostgreSQL

PUT_BLOCK = """
INSERT INTO {schema}.blocks (body, number, octets) VALUES ($1, $2, $3)
ON CONFLICT (body, number) DO NOTHING RETURNING number
"""

READ_BLOCK = """
SELECT substring(octets FROM $3::integer + 1 FOR $4::integer) AS octets FROM {schema}.blocks
WHERE body = $1 AND number = $2
"""

REMOVE_BLOCKS = "DELETE FROM {schema}.blocks WHERE body = $1"
