-- History lines that came many at once, until they are compacted: `lines` is an Arrow stream of their
-- steps and texts, compressed, in the order of both their numbers and their steps.
CREATE TABLE line_block (
    run_id     INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    number     INTEGER NOT NULL, -- of the first line
    end_number INTEGER NOT NULL, -- one past the last line
    first_step INTEGER NOT NULL,
    last_step  INTEGER NOT NULL,
    lines      BLOB    NOT NULL,
    PRIMARY KEY (run_id, number)
) STRICT;
