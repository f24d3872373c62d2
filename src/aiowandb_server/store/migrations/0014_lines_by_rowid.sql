-- Tables with lines by rowid, and their keys in an index. Without rowids the texts are part of what
-- SQLite searches: each look at a key read all of its line, so that a few lines of some megabytes
-- made every write next to them thousands of times as slow, in the runs of others too.
CREATE TABLE line_by_rowid (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    stream TEXT    NOT NULL CHECK (stream IN ('history', 'events', 'console')),
    number INTEGER NOT NULL,
    step   INTEGER,
    text   TEXT    NOT NULL,
    PRIMARY KEY (run_id, stream, number)
) STRICT;
INSERT INTO line_by_rowid SELECT run_id, stream, number, step, text FROM line
    ORDER BY run_id, stream, number;
DROP TABLE line;
ALTER TABLE line_by_rowid RENAME TO line;
CREATE INDEX line_by_step ON line (run_id, step, number) WHERE stream = 'history';

CREATE TABLE rejected_by_rowid (
    run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
    stream TEXT    NOT NULL,
    number INTEGER NOT NULL,
    text   TEXT    NOT NULL,
    PRIMARY KEY (run_id, stream, number)
) STRICT;
INSERT INTO rejected_by_rowid SELECT run_id, stream, number, text FROM rejected_line;
DROP TABLE rejected_line;
ALTER TABLE rejected_by_rowid RENAME TO rejected_line;
