-- Requests for an alias that are to give one alias however often they come (a double click, a lost
-- answer), for a day. What the client sent is kept in a form that only somebody who knows it can
-- recognise; see src/ledger/repeats.rs.
CREATE TABLE repeats (
    id      BLOB    PRIMARY KEY CHECK (length(id) = 32),
    request BLOB    NOT NULL CHECK (length(request) = 32),
    name    TEXT    NOT NULL,                -- the alias it gave
    made    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX repeats_by_age ON repeats (made);
CREATE INDEX repeats_by_name ON repeats (name);

-- However an alias goes, nothing leads to it any more.
CREATE TRIGGER aliases_forget_repeats AFTER DELETE ON aliases BEGIN
    DELETE FROM repeats WHERE name = OLD.name;
END;
