-- Every name ever handed out, for ever: a name is never reused, not even after its alias is gone.
CREATE TABLE names (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- The real mailboxes, in slots that are written in place and neither moved nor deleted: when
-- SQLite splits or merges pages it may leave copies of the rows it moves in the slack of a page,
-- where `secure_delete` does not find them once the row is deleted.
CREATE TABLE targets (
    id      INTEGER PRIMARY KEY,
    address BLOB    NOT NULL,                -- padded with NUL, so that it fits into a used slot
    free    INTEGER NOT NULL DEFAULT 0 CHECK (free IN (0, 1))
) STRICT;

CREATE INDEX targets_free ON targets (length(address)) WHERE free = 1;

-- The aliases that are alive, or used up or expired since the last purge.
CREATE TABLE aliases (
    name        TEXT    PRIMARY KEY REFERENCES names (name),
    domain      TEXT    NOT NULL,
    target      INTEGER NOT NULL,            -- a slot of `targets`, of this alias alone
    key_hash    BLOB    NOT NULL CHECK (length(key_hash) = 32),
    created     INTEGER NOT NULL,            -- instants are seconds since 1970, UTC
    valid_from  INTEGER NOT NULL,
    valid_until INTEGER,
    max_usage   INTEGER CHECK (max_usage > 0),
    used        INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0),
    last_spent  INTEGER,                     -- when the last use was spent
    paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    bounces     INTEGER NOT NULL DEFAULT 0 CHECK (bounces >= 0),  -- in a row
    row_start   INTEGER NOT NULL DEFAULT 0,  -- uses spent before the first message of that row
    CHECK (valid_until IS NOT NULL OR max_usage IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- However an alias goes, its target goes with it.
CREATE TRIGGER aliases_forget_target AFTER DELETE ON aliases BEGIN
    UPDATE targets SET address = zeroblob(length(address)), free = 1 WHERE id = OLD.target;
END;

-- What the purge looks for.
CREATE INDEX aliases_by_end ON aliases (valid_until) WHERE valid_until IS NOT NULL;
CREATE INDEX aliases_used_up ON aliases (last_spent) WHERE used >= max_usage;

CREATE TABLE state (
    name_length   INTEGER NOT NULL,          -- of the next name; grows with each collision
    bounce_secret BLOB    NOT NULL           -- signs our bounce addresses
) STRICT;
