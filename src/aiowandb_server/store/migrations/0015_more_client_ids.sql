-- A version that is logged again with the same content is not created again: the client that did so
-- has chosen another id, and its rows and manifests refer to the version by that one.
CREATE TABLE artifact_client (
    client_id   TEXT    NOT NULL,
    artifact_id INTEGER NOT NULL REFERENCES artifact ON DELETE CASCADE,
    PRIMARY KEY (client_id, artifact_id)
) STRICT;
