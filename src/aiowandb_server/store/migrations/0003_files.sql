-- An uploaded file. `blob` names its bytes on disk; a name from outside never becomes a path.
CREATE TABLE file (
    id         INTEGER PRIMARY KEY,
    run_id     INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    blob       TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    md5        TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (run_id, name)
) STRICT;

CREATE TRIGGER file_deleted AFTER DELETE ON file BEGIN
    INSERT OR IGNORE INTO retired_file VALUES ('blobs/' || old.blob, unixepoch());
END;

CREATE TRIGGER file_replaced AFTER UPDATE OF blob ON file WHEN old.blob <> new.blob BEGIN
    INSERT OR IGNORE INTO retired_file VALUES ('blobs/' || old.blob, unixepoch());
END;

CREATE TABLE alert (
    id         INTEGER PRIMARY KEY,
    run_id     INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    title      TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    severity   TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE report (
    id           INTEGER PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name         TEXT    NOT NULL,
    display_name TEXT    NOT NULL,
    description  TEXT,
    user_id      INTEGER REFERENCES user ON DELETE SET NULL,
    spec         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;
