-- Where runs of a user go that name no entity, if that is not the user's own.
CREATE TABLE default_entity (
    user_id   INTEGER PRIMARY KEY REFERENCES user ON DELETE CASCADE,
    entity_id INTEGER NOT NULL REFERENCES entity ON DELETE CASCADE
) STRICT;
