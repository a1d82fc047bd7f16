-- lease: counts the sessions that the maildrop had. Whoever has another number than this has lost
-- the lease. holder is NULL while nobody has it. messages, octets: what the maildrop holds.
-- removals: counts the transactions that removed messages.
CREATE TABLE maildrops (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    lease BIGINT NOT NULL DEFAULT 0,
    holder TEXT,
    expires TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    removals BIGINT NOT NULL DEFAULT 0,
    messages BIGINT NOT NULL DEFAULT 0,
    octets BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Equal bodies are stored once. used: when one was last delivered. unused: the collector must look
-- at it, as perhaps no message has it. A blob's key is made of id, digest and encoding.
CREATE TABLE bodies (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest BYTEA NOT NULL,
    octets BIGINT NOT NULL,
    stored_octets BIGINT NOT NULL,
    encoding TEXT NOT NULL,
    header_end BIGINT NOT NULL,
    needs_stuffing BOOLEAN NOT NULL,
    dots BYTEA,
    state TEXT NOT NULL DEFAULT 'writing' CHECK (state IN ('writing', 'stored', 'doomed')),
    unused BOOLEAN NOT NULL DEFAULT TRUE,
    used TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX bodies_digest ON bodies (digest) WHERE state <> 'doomed';
CREATE INDEX bodies_unused ON bodies (id) WHERE unused;

-- Bodies that lie in PostgreSQL, in blocks. They don't shrink: what does is compressed already.
CREATE TABLE blocks (
    body BIGINT NOT NULL REFERENCES bodies ON DELETE CASCADE,
    number INTEGER NOT NULL,
    octets BYTEA NOT NULL,
    PRIMARY KEY (body, number)
);
ALTER TABLE blocks ALTER COLUMN octets SET STORAGE EXTERNAL;

-- number: their order among those that arrived at the same time. removed: when a session's QUIT has removed the message; it waits to be
-- collected. pinned: the unique-id came from elsewhere; its row stays, without a body, so that the
-- unique-id is never used again.
CREATE TABLE messages (
    maildrop BIGINT NOT NULL REFERENCES maildrops,
    unique_id TEXT COLLATE "C" NOT NULL,
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    body BIGINT REFERENCES bodies,
    octets BIGINT NOT NULL,
    ascii_octets BIGINT NOT NULL,
    utf8 SMALLINT NOT NULL,
    pinned BOOLEAN NOT NULL,
    arrived TIMESTAMPTZ NOT NULL,
    removed TIMESTAMPTZ,
    PRIMARY KEY (maildrop, unique_id)
);
CREATE INDEX messages_listed ON messages (maildrop, arrived, number)
    INCLUDE (unique_id, octets, ascii_octets, utf8) WHERE removed IS NULL;
CREATE INDEX messages_body ON messages (body) WHERE body IS NOT NULL;
CREATE INDEX messages_removed ON messages (removed) WHERE removed IS NOT NULL AND body IS NOT NULL;
