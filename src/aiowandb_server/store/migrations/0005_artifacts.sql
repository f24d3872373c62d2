CREATE TABLE artifact_type (
    id          INTEGER PRIMARY KEY,
    project_id  INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    description TEXT,
    created_at  INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

-- A sequence holds the versions made under its name; a portfolio holds links to versions of others.
CREATE TABLE collection (
    id          INTEGER PRIMARY KEY,
    project_id  INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    type_id     INTEGER NOT NULL REFERENCES artifact_type ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('SEQUENCE', 'PORTFOLIO')),
    name        TEXT    NOT NULL,
    description TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE artifact (
    id            INTEGER PRIMARY KEY,
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

CREATE INDEX artifact_by_digest ON artifact (collection_id, digest);
CREATE INDEX artifact_by_run ON artifact (run_id);

CREATE TABLE membership (
    id            INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    artifact_id   INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    version       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    UNIQUE (collection_id, artifact_id),
    UNIQUE (collection_id, version)
) STRICT;

CREATE INDEX membership_by_artifact ON membership (artifact_id);

CREATE TABLE alias (
    id            INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    membership_id INTEGER NOT NULL REFERENCES membership ON DELETE CASCADE,
    name          TEXT    NOT NULL,
    UNIQUE (collection_id, name)
) STRICT;

CREATE TABLE artifact_tag (
    id          INTEGER PRIMARY KEY,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    UNIQUE (artifact_id, name)
) STRICT;

CREATE TABLE collection_tag (
    id            INTEGER PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    name          TEXT    NOT NULL,
    UNIQUE (collection_id, name)
) STRICT;

CREATE TABLE manifest (
    id          INTEGER PRIMARY KEY,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    kind        TEXT    NOT NULL CHECK (kind IN ('FULL', 'PATCH', 'INCREMENTAL')),
    name        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    base_id     INTEGER REFERENCES artifact ON DELETE SET NULL,
    blob        TEXT,
    created_at  INTEGER NOT NULL
) STRICT;

-- Each process that has a part in a version sends a patch of its own.
CREATE UNIQUE INDEX manifest_by_kind ON manifest (artifact_id, kind, name) WHERE kind <> 'PATCH';
CREATE INDEX manifest_by_artifact ON manifest (artifact_id);

CREATE TRIGGER manifest_deleted AFTER DELETE ON manifest WHEN old.blob IS NOT NULL BEGIN
    INSERT OR IGNORE INTO retired_file VALUES ('blobs/' || old.blob, unixepoch());
END;

-- What a committed version holds.
CREATE TABLE entry (
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    digest      TEXT    NOT NULL, -- base64 md5, or whatever a reference is known by
    size        INTEGER NOT NULL,
    reference   TEXT,
    PRIMARY KEY (artifact_id, name)
) STRICT, WITHOUT ROWID;

-- Bytes of artifact files by what they are, once for an entity however many versions hold them.
CREATE TABLE content (
    entity_id INTEGER NOT NULL REFERENCES entity ON DELETE CASCADE,
    md5       TEXT    NOT NULL,
    blob      TEXT    NOT NULL,
    size      INTEGER NOT NULL,
    PRIMARY KEY (entity_id, md5)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifact_use (
    run_id      INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    direction   TEXT    NOT NULL CHECK (direction IN ('input', 'output')),
    used_as     TEXT,
    PRIMARY KEY (run_id, artifact_id, direction)
) STRICT, WITHOUT ROWID;
