-- The first schema: tasks, the payloads too large to lie in their rows, open leases, counts, and one row about the store.

CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,      -- the term in force; every commit checks it
    commits INTEGER NOT NULL,    -- the number of the last commit, through all epochs
    next_seq INTEGER NOT NULL,   -- kept, because a seq is never reused and the highest task may be deleted
    next_lease INTEGER NOT NULL, -- kept for the same reason
    settled INTEGER NOT NULL     -- grows where a write is needed that changes nothing; see SqliteStore._settle
) STRICT;
INSERT INTO store VALUES (1, 0, 0, 1, 1, 0);

-- A line of tasks, under a number. A task's row and the index of what waits have the number alone: the four columns in its
-- place took 1.4 us of 6.3 that a task costs from its insert to its end. A lane stays when its last task has gone.
CREATE TABLE lanes (
    lane INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    name TEXT NOT NULL,
    partition TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    UNIQUE (queue, name, partition, priority)
) STRICT;

-- No IN list of more than two stands in this schema: SQLite makes a temporary table of it, anew for each row written. Three
-- such lists took an insert from 2.8 us to 5.5 and an update from 2.3 to 6.0.
-- What is short and read often stands first: SQLite finds a column by walking over those before it. What a new task does not
-- have yet stands last, with a default, and need not be bound.
CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16),
    state TEXT NOT NULL CHECK (
        state = 'queued' OR state = 'succeeded' OR state = 'pending' OR state = 'retrying'
        OR state = 'failed' OR state = 'cancelled' OR state = 'expired'
    ),
    lane INTEGER NOT NULL,
    due REAL NOT NULL,
    expires REAL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    key TEXT,
    parent BLOB,
    tags TEXT NOT NULL,
    title TEXT,
    options BLOB NOT NULL,
    payload BLOB, -- NULL: it is large and lies in payloads
    attempt INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    started REAL,
    finished REAL,
    reason TEXT,
    ran BLOB,
    result BLOB,
    error BLOB,
    history BLOB NOT NULL DEFAULT x''
) STRICT;

-- A row is written again as a whole when its task ends. A payload that would spill into overflow pages has a table of its
-- own: finishing a task with 100 kB then costs 7 us instead of 290.
CREATE TABLE payloads (
    seq INTEGER PRIMARY KEY,
    payload BLOB NOT NULL
) STRICT;

CREATE TABLE leases (
    lease INTEGER PRIMARY KEY,
    node TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    session TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    granted REAL NOT NULL,
    open BLOB NOT NULL, -- MessagePack list of seqs
    alone INTEGER NOT NULL CHECK (alone IN (0, 1))
) STRICT;

CREATE TABLE counts (
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    tasks INTEGER NOT NULL CHECK (tasks >= 0),
    PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL -- what operators set; the core's own, opaque here
) STRICT, WITHOUT ROWID;

-- What each index costs an insert and a later update together: us of CPU in a steady flow, 100 a commit, each index alone
-- on a busy machine (7.5 without any, 11.4 with all; plus or minus 0.5):
--   tasks_id                               +0.9   ids are ordered by time, so only the end of the index is hot
--   tasks_key, tasks_due, tasks_expires, tasks_rare   up to +0.9 each, although most tasks are in none of them
--   tasks_lane                             +1     each task enters and leaves it
-- An index on (state, finished) of all tasks would cost another 1 to 2 and is not here: the Pruner walks by seq, and what
-- lists need of the two common states is at the end of the table, or in tasks_lane.

CREATE UNIQUE INDEX tasks_id ON tasks (id);
CREATE UNIQUE INDEX tasks_key ON tasks (key) WHERE key IS NOT NULL;

-- Every index ends in the rowid, which is seq. A lane whose window ran dry is refilled from here.
CREATE INDEX tasks_lane ON tasks (lane, due) WHERE state = 'queued';
CREATE INDEX tasks_due ON tasks (due) WHERE state IN ('pending', 'retrying');
CREATE INDEX tasks_expires ON tasks (expires)
WHERE expires IS NOT NULL AND (state = 'queued' OR state = 'pending' OR state = 'retrying');

-- Lists by state, for the states that few tasks have.
CREATE INDEX tasks_rare ON tasks (state) WHERE state <> 'queued' AND state <> 'succeeded';

-- A task as the code wants it: the fields of TaskRow, in their order.
CREATE VIEW task_rows AS
SELECT
    seq, id, name, queue, partition, priority, state, due, expires, created, updated, options,
    coalesce(payload, (SELECT large.payload FROM payloads AS large WHERE large.seq = tasks.seq)) AS payload,
    key, parent, tags, title, attempt, interruptions, started, finished, result, error, reason, ran, history
FROM tasks JOIN lanes USING (lane);
