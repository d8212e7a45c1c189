-- Tasks that depend on each other. A member's row has the number of its workflow, which is the seq of its first member.

ALTER TABLE tasks ADD COLUMN workflow INTEGER;
ALTER TABLE tasks ADD COLUMN member BLOB;    -- MessagePack [places of those that wait for it, delay, eta]
ALTER TABLE tasks ADD COLUMN waits INTEGER;  -- for how many others it waits; while there are any, its due is infinite
ALTER TABLE tasks ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

CREATE TABLE workflows (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    total INTEGER NOT NULL,
    on_failure TEXT NOT NULL,
    title TEXT,
    created REAL NOT NULL,
    kept INTEGER NOT NULL CHECK (kept > 0),
    ended INTEGER NOT NULL CHECK (ended BETWEEN 0 AND total),
    failed INTEGER NOT NULL CHECK (failed BETWEEN 0 AND ended),
    cancelled INTEGER NOT NULL,
    sweep TEXT,
    mark INTEGER NOT NULL,
    finished REAL
) STRICT;
CREATE INDEX workflows_swept ON workflows (number) WHERE sweep IS NOT NULL;

-- What members wait for and take, apart from their rows, which are written again while they wait.
CREATE TABLE links (
    seq INTEGER PRIMARY KEY,
    after BLOB NOT NULL, -- MessagePack list of places
    takes BLOB           -- MessagePack of a place, or of a list of these, and so on
) STRICT;

DROP VIEW task_rows;
CREATE VIEW task_rows AS
SELECT
    seq, id, name, queue, partition, priority, state, due, expires, created, updated, options,
    coalesce(payload, (SELECT large.payload FROM payloads AS large WHERE large.seq = tasks.seq)) AS payload,
    key, parent, tags, title, attempt, interruptions, started, finished, result, error, reason, ran, history,
    progress, checkpoint, workflow, member, waits, told
FROM tasks JOIN lanes USING (lane);
