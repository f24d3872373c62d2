CREATE TABLE sweep (
    id           INTEGER PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name         TEXT    NOT NULL,
    display_name TEXT,
    description  TEXT,
    config       TEXT    NOT NULL, -- YAML, as it was sent
    state        TEXT    NOT NULL,
    controller   TEXT,
    scheduler    TEXT,
    prior_runs   TEXT, -- a filter over runs, as it was sent
    user_id      INTEGER REFERENCES user ON DELETE SET NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE agent (
    id           INTEGER PRIMARY KEY,
    sweep_id     INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
    name         TEXT    NOT NULL UNIQUE,
    host         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT;

-- Which run of a sweep was given to which agent. Runs come into being when their agent starts them.
CREATE TABLE assignment (
    sweep_id INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
    number   INTEGER NOT NULL,
    agent_id INTEGER NOT NULL REFERENCES agent ON DELETE CASCADE,
    run_name TEXT    NOT NULL,
    PRIMARY KEY (sweep_id, number)
) STRICT, WITHOUT ROWID;
