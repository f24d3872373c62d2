-- History lines of a run with smaller numbers are no longer its own, and are being deleted: they were
-- moved to a segment, or the run was rewound. New ones can have their numbers when they are.
CREATE TABLE gone_lines (
    run_id     INTEGER PRIMARY KEY REFERENCES run ON DELETE CASCADE,
    end_number INTEGER NOT NULL
) STRICT;
