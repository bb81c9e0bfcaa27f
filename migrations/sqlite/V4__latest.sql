-- The latest instant that a purge has seen: after a restart, too, time does not go back before it.
ALTER TABLE state ADD COLUMN latest INTEGER;
