-- Where the lines of each process of a run in shared mode went: its own line `first` and the
-- `length - 1` after it are the run's lines from `number` on.
CREATE TABLE writer_range (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    stream TEXT    NOT NULL,
    writer TEXT    NOT NULL,
    first  INTEGER NOT NULL,
    length INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (run_id, stream, writer, first)
) STRICT, WITHOUT ROWID;

-- History lines that were sent once more with other words, by whom ever: nothing is thrown away.
CREATE TABLE replaced_line (
    id     INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    number INTEGER NOT NULL,
    text   TEXT    NOT NULL
) STRICT;

CREATE INDEX replaced_line_by_run ON replaced_line (run_id, number);
