-- Ids are never given out twice, whatever is deleted: clients hold on to them, and a request that
-- comes late or once more must not reach what was made afterwards. Only AUTOINCREMENT promises that,
-- and it cannot be added to a table: each table whose ids leave the server is copied into a new one.
-- Foreign keys are off meanwhile (see `database.py`), or dropping a table would empty others.

-- It names two tables, and a table cannot be renamed while a trigger names one that is missing.
DROP TRIGGER run_counted;
DROP TRIGGER run_discounted;

CREATE TABLE new_entity (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    is_team    INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO new_entity SELECT * FROM entity;
DROP TABLE entity;
ALTER TABLE new_entity RENAME TO entity;

CREATE TABLE new_user (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    username   TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    is_admin   INTEGER NOT NULL DEFAULT 0,
    entity_id  INTEGER NOT NULL REFERENCES entity,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO new_user SELECT * FROM user;
DROP TABLE user;
ALTER TABLE new_user RENAME TO user;

CREATE TABLE new_api_key (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id     INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    digest      BLOB    NOT NULL UNIQUE,
    hint        TEXT    NOT NULL,
    description TEXT,
    created_at  INTEGER NOT NULL
) STRICT;
INSERT INTO new_api_key SELECT * FROM api_key;
DROP TABLE api_key;
ALTER TABLE new_api_key RENAME TO api_key;

CREATE TABLE new_project (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    entity_id   INTEGER NOT NULL REFERENCES entity ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    description TEXT,
    access      TEXT    NOT NULL DEFAULT 'PRIVATE',
    user_id     INTEGER REFERENCES user ON DELETE SET NULL,
    created_at  INTEGER NOT NULL,
    run_count   INTEGER NOT NULL DEFAULT 0, -- kept by triggers: counting 100,000 runs a page is slow
    UNIQUE (entity_id, name)
) STRICT;
INSERT INTO new_project SELECT * FROM project;
DROP TABLE project;
ALTER TABLE new_project RENAME TO project;

CREATE TABLE new_run (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
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
INSERT INTO new_run SELECT * FROM run;
DROP TABLE run;
ALTER TABLE new_run RENAME TO run;
CREATE INDEX run_by_creation ON run (project_id, created_at, id);
CREATE INDEX run_by_sweep ON run (project_id, sweep) WHERE sweep IS NOT NULL;

CREATE TABLE new_file (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    name       TEXT    NOT NULL,
    blob       TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    md5        TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (run_id, name)
) STRICT;
INSERT INTO new_file SELECT * FROM file;
DROP TABLE file;
ALTER TABLE new_file RENAME TO file;
CREATE TRIGGER file_deleted AFTER DELETE ON file BEGIN
    INSERT OR IGNORE INTO retired_file VALUES ('blobs/' || old.blob, unixepoch());
END;
CREATE TRIGGER file_replaced AFTER UPDATE OF blob ON file WHEN old.blob <> new.blob BEGIN
    INSERT OR IGNORE INTO retired_file VALUES ('blobs/' || old.blob, unixepoch());
END;

CREATE TABLE new_report (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
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
INSERT INTO new_report SELECT * FROM report;
DROP TABLE report;
ALTER TABLE new_report RENAME TO report;

CREATE TABLE new_sweep (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
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
INSERT INTO new_sweep SELECT * FROM sweep;
DROP TABLE sweep;
ALTER TABLE new_sweep RENAME TO sweep;

CREATE TABLE new_agent (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sweep_id     INTEGER NOT NULL REFERENCES sweep ON DELETE CASCADE,
    name         TEXT    NOT NULL UNIQUE,
    host         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT;
INSERT INTO new_agent SELECT * FROM agent;
DROP TABLE agent;
ALTER TABLE new_agent RENAME TO agent;

CREATE TABLE new_artifact_type (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    description TEXT,
    created_at  INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;
INSERT INTO new_artifact_type SELECT * FROM artifact_type;
DROP TABLE artifact_type;
ALTER TABLE new_artifact_type RENAME TO artifact_type;

CREATE TABLE new_collection (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    type_id     INTEGER NOT NULL REFERENCES artifact_type ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('SEQUENCE', 'PORTFOLIO')),
    name        TEXT    NOT NULL,
    description TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;
INSERT INTO new_collection SELECT * FROM collection;
DROP TABLE collection;
ALTER TABLE new_collection RENAME TO collection;

CREATE TABLE new_artifact (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    client_id     TEXT    UNIQUE,
    distributed_id TEXT, -- what the processes that make the version together call it
    state         TEXT    NOT NULL CHECK (state IN ('PENDING', 'COMMITTED', 'DELETED')),
    digest        TEXT    NOT NULL,
    description   TEXT,
    metadata      TEXT,
    ttl_seconds   INTEGER NOT NULL DEFAULT -2, -- -2: inherited, which here means for ever
    history_step  INTEGER,
    size          INTEGER NOT NULL DEFAULT 0,
    file_count    INTEGER NOT NULL DEFAULT 0,
    aliases       TEXT    NOT NULL DEFAULT '[]', -- asked for; given out when the version is committed
    run_id        INTEGER REFERENCES run ON DELETE SET NULL,
    user_id       INTEGER REFERENCES user ON DELETE SET NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;
INSERT INTO new_artifact SELECT * FROM artifact;
DROP TABLE artifact;
ALTER TABLE new_artifact RENAME TO artifact;
CREATE INDEX artifact_by_digest ON artifact (collection_id, digest);
CREATE INDEX artifact_by_run ON artifact (run_id);

CREATE TABLE new_membership (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    artifact_id   INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    version       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    UNIQUE (collection_id, artifact_id),
    UNIQUE (collection_id, version)
) STRICT;
INSERT INTO new_membership SELECT * FROM membership;
DROP TABLE membership;
ALTER TABLE new_membership RENAME TO membership;
CREATE INDEX membership_by_artifact ON membership (artifact_id);

CREATE TABLE new_alias (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    membership_id INTEGER NOT NULL REFERENCES membership ON DELETE CASCADE,
    name          TEXT    NOT NULL,
    UNIQUE (collection_id, name)
) STRICT;
INSERT INTO new_alias SELECT * FROM alias;
DROP TABLE alias;
ALTER TABLE new_alias RENAME TO alias;

CREATE TABLE new_artifact_tag (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    UNIQUE (artifact_id, name)
) STRICT;
INSERT INTO new_artifact_tag SELECT * FROM artifact_tag;
DROP TABLE artifact_tag;
ALTER TABLE new_artifact_tag RENAME TO artifact_tag;

CREATE TABLE new_collection_tag (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    name          TEXT    NOT NULL,
    UNIQUE (collection_id, name)
) STRICT;
INSERT INTO new_collection_tag SELECT * FROM collection_tag;
DROP TABLE collection_tag;
ALTER TABLE new_collection_tag RENAME TO collection_tag;

CREATE TABLE new_manifest (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('FULL', 'PATCH', 'INCREMENTAL')),
    name        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    base_id     INTEGER REFERENCES artifact ON DELETE SET NULL,
    blob        TEXT,
    created_at  INTEGER NOT NULL
) STRICT;
INSERT INTO new_manifest SELECT * FROM manifest;
DROP TABLE manifest;
ALTER TABLE new_manifest RENAME TO manifest;
CREATE UNIQUE INDEX manifest_by_kind ON manifest (artifact_id, kind, name) WHERE kind <> 'PATCH';
CREATE INDEX manifest_by_artifact ON manifest (artifact_id);
CREATE TRIGGER manifest_deleted AFTER DELETE ON manifest WHEN old.blob IS NOT NULL BEGIN
    INSERT OR IGNORE INTO retired_file VALUES ('blobs/' || old.blob, unixepoch());
END;

CREATE TRIGGER run_counted AFTER INSERT ON run BEGIN
    UPDATE project SET run_count = run_count + 1 WHERE id = new.project_id;
END;
CREATE TRIGGER run_discounted AFTER DELETE ON run BEGIN
    UPDATE project SET run_count = run_count - 1 WHERE id = old.project_id;
END;

-- What was deleted last may have had larger ids than any that is left. Nobody knows them any more, so
-- a store that was in use goes on far beyond them.
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'entity', ifnull(max(id), 0) FROM entity
    UNION ALL SELECT 'user', ifnull(max(id), 0) FROM user
    UNION ALL SELECT 'api_key', ifnull(max(id), 0) FROM api_key
    UNION ALL SELECT 'project', ifnull(max(id), 0) FROM project
    UNION ALL SELECT 'run', ifnull(max(id), 0) FROM run
    UNION ALL SELECT 'file', ifnull(max(id), 0) FROM file
    UNION ALL SELECT 'report', ifnull(max(id), 0) FROM report
    UNION ALL SELECT 'sweep', ifnull(max(id), 0) FROM sweep
    UNION ALL SELECT 'agent', ifnull(max(id), 0) FROM agent
    UNION ALL SELECT 'artifact_type', ifnull(max(id), 0) FROM artifact_type
    UNION ALL SELECT 'collection', ifnull(max(id), 0) FROM collection
    UNION ALL SELECT 'artifact', ifnull(max(id), 0) FROM artifact
    UNION ALL SELECT 'membership', ifnull(max(id), 0) FROM membership
    UNION ALL SELECT 'alias', ifnull(max(id), 0) FROM alias
    UNION ALL SELECT 'artifact_tag', ifnull(max(id), 0) FROM artifact_tag
    UNION ALL SELECT 'collection_tag', ifnull(max(id), 0) FROM collection_tag
    UNION ALL SELECT 'manifest', ifnull(max(id), 0) FROM manifest;
UPDATE sqlite_sequence SET seq = seq + 1000000 WHERE EXISTS (SELECT 1 FROM entity);

-- The number that the next version in a collection gets. It is not one more than the largest that is
-- there: that of a deleted version is not given to another. A deleted version of a sequence is still
-- known; of a link that was removed nothing is.
CREATE TABLE version_count (
    collection_id INTEGER PRIMARY KEY REFERENCES collection ON DELETE CASCADE,
    next          INTEGER NOT NULL
) STRICT;

INSERT INTO version_count
    SELECT collection.id, max(
        ifnull((SELECT max(version) + 1 FROM membership WHERE collection_id = collection.id), 0),
        (SELECT count(*) FROM artifact WHERE collection_id = collection.id AND state <> 'PENDING'))
    FROM collection;
