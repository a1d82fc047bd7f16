-- What the guards of all nodes have in common. guard_numbers: the last numbers given in the tables
-- below. Whoever writes takes them by an update of its only row, whose lock is held until the
-- commit: so a number is never seen before a smaller one, as a sequence's would be. since, until,
-- at: seconds since 1970. times: how often in a row a guard banned it by itself; 0: an operator did.
CREATE TABLE guard_numbers (
    id INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    bans BIGINT NOT NULL DEFAULT 0,
    known BIGINT NOT NULL DEFAULT 0,
    failures BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO guard_numbers DEFAULT VALUES;

CREATE TABLE bans (
    network TEXT COLLATE "C" PRIMARY KEY,
    number BIGINT NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION,
    reason TEXT NOT NULL,
    times BIGINT NOT NULL
);
CREATE INDEX bans_number ON bans (number);
CREATE INDEX bans_until ON bans (until);

-- Which addresses have logged in to which accounts, and when last.
CREATE TABLE known_addresses (
    address TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (address, account)
);
CREATE INDEX known_addresses_number ON known_addresses (number);
CREATE INDEX known_addresses_at ON known_addresses (at);

-- writer: which server's processes have counted it.
CREATE TABLE failed_logins (
    number BIGINT PRIMARY KEY,
    writer BIGINT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
CREATE INDEX failed_logins_at ON failed_logins (at);
