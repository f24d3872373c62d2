CREATE TABLE run (
    id             INTEGER PRIMARY KEY,
    project_id     INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name           TEXT    NOT NULL,
    user_id        INTEGER REFERENCES user ON DELETE SET NULL,
    sweep          TEXT,
    state          TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    heartbeat_at   INTEGER NOT NULL,
    display_name   TEXT    NOT NULL,
    group_name     TEXT,
    job_type       TEXT,
    host           TEXT,
    program        TEXT,
    repo           TEXT,
    git_commit     TEXT,
    exit_code      INTEGER,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    history_lines  INTEGER NOT NULL DEFAULT 0,
    event_lines    INTEGER NOT NULL DEFAULT 0,
    console_lines  INTEGER NOT NULL DEFAULT 0,
    history_rewrites INTEGER NOT NULL DEFAULT 0, -- grows when a line that was there changes or goes
    tags           TEXT    NOT NULL DEFAULT '[]',
    notes          TEXT,
    description    TEXT,
    config         TEXT    NOT NULL DEFAULT '{}',
    summary        TEXT    NOT NULL DEFAULT '{}',
    -- What filters and orders read when the text above holds NaN or Infinity, which SQLite's JSON refuses.
    finite_config  TEXT,
    finite_summary TEXT,
    UNIQUE (project_id, name)
) STRICT;

CREATE INDEX run_by_creation ON run (project_id, created_at, id);
CREATE INDEX run_by_sweep ON run (project_id, sweep) WHERE sweep IS NOT NULL;

CREATE TRIGGER run_counted AFTER INSERT ON run BEGIN
    UPDATE project SET run_count = run_count + 1 WHERE id = new.project_id;
END;

CREATE TRIGGER run_discounted AFTER DELETE ON run BEGIN
    UPDATE project SET run_count = run_count - 1 WHERE id = old.project_id;
END;

-- One line of a run's history, events or console as it was sent; `step` only for history.
CREATE TABLE line (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    stream TEXT    NOT NULL CHECK (stream IN ('history', 'events', 'console')),
    number INTEGER NOT NULL,
    step   INTEGER,
    text   TEXT    NOT NULL,
    PRIMARY KEY (run_id, stream, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX line_by_step ON line (run_id, step, number) WHERE stream = 'history';

-- Lines that are not JSON objects: nothing that was sent is thrown away.
CREATE TABLE rejected_line (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    stream TEXT    NOT NULL,
    number INTEGER NOT NULL,
    text   TEXT    NOT NULL,
    PRIMARY KEY (run_id, stream, number)
) STRICT, WITHOUT ROWID;

-- The part of a run's history that lies in two Parquet files, named after `token`.
CREATE TABLE segment (
    run_id     INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
    token      TEXT    NOT NULL UNIQUE,
    row_count  INTEGER NOT NULL,
    first_step INTEGER NOT NULL,
    last_step  INTEGER NOT NULL,
    end_number INTEGER NOT NULL -- one past the highest line number inside
) STRICT;

-- Links to a file may still be in use when nothing refers to it any more: it stays for a while.
CREATE TABLE retired_file (
    path       TEXT    PRIMARY KEY, -- inside the data folder
    retired_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER segment_deleted AFTER DELETE ON segment BEGIN
    INSERT INTO retired_file VALUES
        ('segments/' || old.token || '.columns.parquet', unixepoch()),
        ('segments/' || old.token || '.lines.parquet', unixepoch());
END;

-- What kinds of values each history key holds, in the first `lines` lines after so many `rewrites`.
CREATE TABLE history_keys (
    run_id   INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
    rewrites INTEGER NOT NULL,
    lines    INTEGER NOT NULL,
    keys     TEXT    NOT NULL
) STRICT;
