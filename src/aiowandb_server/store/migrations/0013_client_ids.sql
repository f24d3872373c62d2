-- Ids that clients choose need not differ throughout the store: two users may copy the same project,
-- and neither may learn from a refusal that the other has. UNIQUE cannot be dropped, so the table is
-- copied into a new one, as in 0007; its counter goes on from where it was.
CREATE TABLE new_artifact (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collection ON DELETE CASCADE,
    client_id     TEXT, -- differs from those of the same project that are not deleted
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
    updated_at    INTEGER NOT NULL,
    digest_algorithm TEXT NOT NULL DEFAULT 'MANIFEST_MD5'
) STRICT;
INSERT INTO new_artifact SELECT * FROM artifact;
DELETE FROM sqlite_sequence WHERE name = 'new_artifact';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'new_artifact', seq FROM sqlite_sequence WHERE name = 'artifact';
DROP TABLE artifact;
ALTER TABLE new_artifact RENAME TO artifact;
CREATE INDEX artifact_by_digest ON artifact (collection_id, digest);
CREATE INDEX artifact_by_run ON artifact (run_id);
CREATE INDEX artifact_by_client ON artifact (client_id) WHERE client_id IS NOT NULL;
