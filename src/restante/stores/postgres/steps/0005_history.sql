-- The history of sessions and deliveries, for all nodes. Losing it loses no mail: these tables may be
-- emptied at any time. since, until, at: seconds since 1970, by the node's clock. weight: about how
-- many octets a row takes, with its places in indexes.

-- The last numbers given, and the octets of all rows. Whoever writes locks the only row first, so that
-- one writes at a time: listings are differences to the one before. pruned: when what was too old was
-- last removed.
CREATE TABLE history_state (
    id INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    sessions BIGINT NOT NULL DEFAULT 0,
    listings BIGINT NOT NULL DEFAULT 0,
    deliveries BIGINT NOT NULL DEFAULT 0,
    refusals BIGINT NOT NULL DEFAULT 0,
    octets BIGINT NOT NULL DEFAULT 0,
    pruned TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
INSERT INTO history_state DEFAULT VALUES;

-- A row for each session, or for the polls of a day that found nothing new. These only change times,
-- until, session, commands and node, which no index has: so PostgreSQL changes the row in its page.
CREATE TABLE history_sessions (
    number BIGINT PRIMARY KEY,
    session TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    maildrop TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    tls SMALLINT NOT NULL,
    mechanism TEXT COLLATE "C" NOT NULL,
    greeting TEXT COLLATE "C" NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    times BIGINT NOT NULL,
    ended TEXT COLLATE "C" NOT NULL,
    commands TEXT COLLATE "C" NOT NULL,
    retrieved BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    octets BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    listing BIGINT,
    sent TEXT COLLATE "C",
    removed TEXT COLLATE "C",
    removed_at DOUBLE PRECISION,
    node TEXT COLLATE "C" NOT NULL,
    weight INTEGER GENERATED ALWAYS AS (
        300 + octet_length(session) + 3 * octet_length(account) + 2 * octet_length(maildrop)
        + 2 * octet_length(address) + octet_length(greeting) + octet_length(commands)
        + coalesce(octet_length(sent), 0) + coalesce(octet_length(removed), 0)
    ) STORED
) WITH (fillfactor = 80);
CREATE INDEX history_sessions_account ON history_sessions (account, number);
CREATE INDEX history_sessions_maildrop ON history_sessions (maildrop, number);
CREATE INDEX history_sessions_client ON history_sessions (address, account, number);
CREATE INDEX history_sessions_since ON history_sessions (since);

-- What a maildrop held when a session found it changed: what has come and gone, compressed, and from
-- time to time all there is.
CREATE TABLE history_listings (
    number BIGINT PRIMARY KEY,
    maildrop TEXT COLLATE "C" NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    session TEXT COLLATE "C" NOT NULL,
    digest BYTEA NOT NULL,
    messages BIGINT NOT NULL,
    octets BIGINT NOT NULL,
    come BYTEA,
    gone BYTEA,
    whole BYTEA,
    weight INTEGER GENERATED ALWAYS AS (
        180 + octet_length(session) + 2 * octet_length(maildrop) + octet_length(digest)
        + coalesce(octet_length(come), 0) + coalesce(octet_length(gone), 0)
        + coalesce(octet_length(whole), 0)
    ) STORED
);
ALTER TABLE history_listings ALTER COLUMN come SET STORAGE EXTERNAL,
    ALTER COLUMN gone SET STORAGE EXTERNAL, ALTER COLUMN whole SET STORAGE EXTERNAL;
CREATE INDEX history_listings_maildrop ON history_listings (maildrop, number);

CREATE TABLE history_deliveries (
    number BIGINT PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    recipient TEXT COLLATE "C" NOT NULL,
    sender TEXT COLLATE "C" NOT NULL,
    octets BIGINT NOT NULL,
    unique_id TEXT COLLATE "C" NOT NULL,
    peer TEXT COLLATE "C" NOT NULL,
    protocol TEXT COLLATE "C" NOT NULL,
    tls TEXT COLLATE "C" NOT NULL,
    queue_id TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    weight INTEGER GENERATED ALWAYS AS (
        220 + octet_length(recipient) + octet_length(sender) + 2 * octet_length(unique_id)
        + octet_length(peer) + octet_length(queue_id) + octet_length(reason)
    ) STORED
);
CREATE INDEX history_deliveries_message ON history_deliveries (unique_id);
CREATE INDEX history_deliveries_outcome ON history_deliveries (outcome, number);
CREATE INDEX history_deliveries_at ON history_deliveries (at);

CREATE TABLE history_refusals (
    number BIGINT PRIMARY KEY,
    since DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    times BIGINT NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    mechanism TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    weight INTEGER GENERATED ALWAYS AS (
        170 + 2 * octet_length(account) + 2 * octet_length(address)
    ) STORED
) WITH (fillfactor = 80);
CREATE INDEX history_refusals_client ON history_refusals (address, account);
CREATE INDEX history_refusals_since ON history_refusals (since);

CREATE TABLE history_counts (
    minute BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    count DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (minute, name)
) WITH (fillfactor = 50);
