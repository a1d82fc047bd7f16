-- Accounts of kind "database". name_key, email_key: the same for all spellings. disabled, master: 0
-- or 1. networks, protocols: divided by blanks. expires, made, used: seconds since 1970.
CREATE TABLE accounts (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL UNIQUE,
    maildrop TEXT COLLATE "C",
    display_name TEXT NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT COLLATE "C" UNIQUE,
    disabled SMALLINT NOT NULL DEFAULT 0,
    protocols TEXT,
    networks TEXT NOT NULL DEFAULT '',
    expires DOUBLE PRECISION,
    master SMALLINT NOT NULL DEFAULT 0,
    quota_octets BIGINT,
    quota_messages BIGINT,
    expire_days BIGINT
);

-- app: the name of an app password; '' for what belongs to the account itself.
CREATE TABLE credentials (
    account BIGINT NOT NULL REFERENCES accounts ON DELETE CASCADE,
    scheme TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL,
    app TEXT COLLATE "C" NOT NULL DEFAULT '',
    made DOUBLE PRECISION,
    used DOUBLE PRECISION
);
CREATE UNIQUE INDEX credentials_of_account ON credentials (account, scheme, md5(credential));
CREATE UNIQUE INDEX app_passwords ON credentials (account, app) WHERE app <> '';
CREATE INDEX credentials_by_scheme ON credentials (scheme, app);
