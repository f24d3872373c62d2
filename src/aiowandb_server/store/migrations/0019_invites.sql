-- Invitations to an entity that nobody has accepted yet, for a user name or an email address, which
-- need not be that of any user.
CREATE TABLE invite (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    entity_id  INTEGER NOT NULL REFERENCES entity ON DELETE CASCADE,
    invited    TEXT    NOT NULL,
    is_email   INTEGER NOT NULL,
    is_admin   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (entity_id, invited, is_email)
) STRICT;
CREATE INDEX invite_by_invited ON invite (invited);
