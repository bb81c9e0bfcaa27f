-- Messages whose use is spent and of which no bounce has come, for the days in which one may come.
-- The key is the message's id (src/message_id.rs), which begins with its time. The alias is not
-- here: nothing of one that is purged is left.
CREATE TABLE deliveries (
    message BLOB    PRIMARY KEY CHECK (length(message) = 10),
    spent   INTEGER NOT NULL                 -- when its use was spent
) STRICT, WITHOUT ROWID;
