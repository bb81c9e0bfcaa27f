-- How many names of the present length have been handed out, so that the length grows before they
-- lie too close for somebody who guesses; see src/ledger/names.rs.
ALTER TABLE state ADD COLUMN names_of_length INTEGER NOT NULL DEFAULT 0;
UPDATE state SET names_of_length = (SELECT count(*) FROM names WHERE length(name) = name_length);
