-- Values of runs are found and stored by the program, and no longer by triggers: SQLite would look
-- for each key in a document of its own, in the transaction that all other writers wait for.
DROP TRIGGER run_value_made;
DROP TRIGGER run_value_changed;
DROP VIEW expected_run_value;

-- Of a key that is being indexed: the last run whose value is known; NULL if those of all runs are.
-- Until then a run that changes and has no value gets one of the kind 'none'.
ALTER TABLE indexed_key ADD COLUMN built_to INTEGER;
-- A key that is no longer used; its values are being deleted.
ALTER TABLE indexed_key ADD COLUMN is_retired INTEGER NOT NULL DEFAULT 0;
