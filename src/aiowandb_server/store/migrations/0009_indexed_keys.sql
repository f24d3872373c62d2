-- SQLite finds a key only as it is written in a path. A text with escapes gets a copy for SQLite in
-- which every character is written in one way.
UPDATE run SET finite_config = readable_json(config) WHERE instr(config, '\');
UPDATE run SET finite_summary = readable_json(summary) WHERE instr(summary, '\');

-- Keys of config and summary whose values are in `run_value`: those that somebody has filtered by.
-- The value is at the first of the paths that exists.
CREATE TABLE indexed_key (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    document   TEXT    NOT NULL CHECK (document IN ('config', 'summary')),
    path       TEXT    NOT NULL,
    path2      TEXT    NOT NULL,
    path3      TEXT    NOT NULL,
    version    INTEGER NOT NULL DEFAULT 0, -- grows when a value of a run of the project changes
    UNIQUE (project_id, document, path, path2, path3)
) STRICT;

-- `kind` is the JSON type, or 'long' for what is not kept here: lists, objects and long texts.
CREATE TABLE run_value (
    key_id INTEGER NOT NULL REFERENCES indexed_key ON DELETE CASCADE,
    run_id INTEGER NOT NULL,
    kind   TEXT    NOT NULL,
    value  ANY,
    PRIMARY KEY (key_id, run_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_value_by_value ON run_value (key_id, value, run_id, kind);
CREATE INDEX run_value_that_is_long ON run_value (key_id) WHERE kind = 'long';

-- What ought to be in `run_value`.
CREATE VIEW expected_run_value AS
SELECT key_id, run_id, iif(is_long, 'long', kind) AS kind,
       CASE WHEN NOT is_long THEN json_extract(text, place) END AS value
FROM (
    SELECT key_id, run_id, text, place, json_type(text, place) AS kind,
           json_type(text, place) IN ('array', 'object')
           OR (json_type(text, place) = 'text' AND length(json_extract(text, place)) > 500) AS is_long
    FROM (
        SELECT key_id, run_id, text,
               CASE WHEN json_type(text, path) IS NOT NULL THEN path
                    WHEN json_type(text, path2) IS NOT NULL THEN path2 ELSE path3 END AS place
        FROM (
            SELECT indexed_key.id AS key_id, run.id AS run_id, path, path2, path3,
                   CASE document WHEN 'config' THEN ifnull(finite_config, config)
                                 ELSE ifnull(finite_summary, summary) END AS text
            FROM indexed_key JOIN run ON run.project_id = indexed_key.project_id
        )
    )
)
WHERE kind IS NOT NULL;

CREATE TRIGGER run_value_made AFTER INSERT ON run BEGIN
    UPDATE indexed_key SET version = version + 1 WHERE project_id = new.project_id;
    INSERT INTO run_value SELECT * FROM expected_run_value
        WHERE run_id = new.id
          AND key_id IN (SELECT id FROM indexed_key WHERE project_id = new.project_id);
END;

CREATE TRIGGER run_value_changed AFTER UPDATE OF config, summary, finite_config, finite_summary ON run
WHEN new.config <> old.config OR new.summary <> old.summary
     OR new.finite_config IS NOT old.finite_config OR new.finite_summary IS NOT old.finite_summary
BEGIN
    UPDATE indexed_key SET version = version + 1 WHERE project_id = new.project_id;
    DELETE FROM run_value WHERE run_id = new.id
        AND key_id IN (SELECT id FROM indexed_key WHERE project_id = new.project_id);
    INSERT INTO run_value SELECT * FROM expected_run_value
        WHERE run_id = new.id
          AND key_id IN (SELECT id FROM indexed_key WHERE project_id = new.project_id);
END;

CREATE TRIGGER run_value_deleted AFTER DELETE ON run BEGIN
    UPDATE indexed_key SET version = version + 1 WHERE project_id = old.project_id;
    DELETE FROM run_value WHERE run_id = old.id
        AND key_id IN (SELECT id FROM indexed_key WHERE project_id = old.project_id);
END;
