CREATE TABLE entity (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    is_team    INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE user (
    id         INTEGER PRIMARY KEY,
    username   TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    is_admin   INTEGER NOT NULL DEFAULT 0,
    entity_id  INTEGER NOT NULL REFERENCES entity,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE member (
    entity_id INTEGER NOT NULL REFERENCES entity ON DELETE CASCADE,
    user_id   INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    is_admin  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (entity_id, user_id)
) STRICT, WITHOUT ROWID;

-- Only a digest is kept: the data folder does not give away anybody's key.
CREATE TABLE api_key (
    id          INTEGER PRIMARY KEY,
    user_id     INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    digest      BLOB    NOT NULL UNIQUE,
    hint        TEXT    NOT NULL,
    description TEXT,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE project (
    id          INTEGER PRIMARY KEY,
    entity_id   INTEGER NOT NULL REFERENCES entity ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    description TEXT,
    access      TEXT    NOT NULL DEFAULT 'PRIVATE',
    user_id     INTEGER REFERENCES user ON DELETE SET NULL,
    created_at  INTEGER NOT NULL,
    run_count   INTEGER NOT NULL DEFAULT 0, -- kept by triggers: counting 100,000 runs a page is slow
    UNIQUE (entity_id, name)
) STRICT;
