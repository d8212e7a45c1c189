-- The queries of the SQLite store. A condition on the state is written out, not bound, wherever it picks a partial index.

-- name: take_over
-- A new term. It is a write like any other, so it also settles whatever an earlier failure left in doubt.
UPDATE store SET epoch = epoch + 1 RETURNING epoch;

-- name: count_commit
-- The first statement of every commit: no row if the term is over.
UPDATE store
SET commits = commits + 1, next_seq = max(next_seq, ?2), next_lease = max(next_lease, ?3)
WHERE epoch = ?1
RETURNING commits;

-- name: settle
UPDATE store SET settled = settled + 1 WHERE epoch = ?1 RETURNING commits;

-- name: about
SELECT epoch, commits, next_seq, next_lease FROM store;

-- name: lane_number
SELECT lane FROM lanes WHERE queue = ? AND name = ? AND partition = ? AND priority = ?;

-- name: insert_lane
INSERT INTO lanes (queue, name, partition, priority) VALUES (?, ?, ?, ?) RETURNING lane;

-- name: insert_new
-- Tasks to which nothing has happened yet. `several` makes of it a statement for many.
INSERT INTO tasks (seq, id, state, lane, due, expires, created, updated, key, parent, tags, title, options, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_task
INSERT INTO tasks (
    seq, id, state, lane, due, expires, created, updated, key, parent, tags, title, options, payload,
    attempt, interruptions, started, finished, reason, ran, result, error, history, progress, checkpoint,
    workflow, member, waits, told
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_payload
INSERT INTO payloads (seq, payload) VALUES (?, ?);

-- name: update_task
UPDATE tasks
SET
    state = ?2, due = ?3, updated = ?4, attempt = ?5, interruptions = ?6, started = ?7, finished = ?8, result = ?9,
    error = ?10, reason = ?11, ran = ?12, history = ?13, expires = ?14, progress = ?15, checkpoint = ?16, waits = ?17,
    told = ?18
WHERE seq = ?1;

-- name: succeed
-- Tasks that ended well. `several` makes of it a statement for many.
UPDATE tasks
SET
    state = 'succeeded', updated = new.column2, attempt = new.column3, started = new.column4, finished = new.column5,
    result = new.column6, ran = new.column7, error = NULL, reason = NULL, checkpoint = NULL
FROM (VALUES (?, ?, ?, ?, ?, ?, ?)) AS new
WHERE seq = new.column1;

-- name: delete_task
DELETE FROM tasks WHERE seq = ?;

-- name: delete_payload
DELETE FROM payloads WHERE seq = ?;

-- name: delete_link
DELETE FROM links WHERE seq = ?;

-- name: put_link
INSERT INTO links (seq, after, takes) VALUES (?, ?, ?);

-- name: links
SELECT seq, after, takes FROM links WHERE seq BETWEEN ? AND ?;

-- name: put_workflow
INSERT INTO workflows (
    number, id, total, on_failure, title, created, kept, ended, failed, cancelled, sweep, mark, finished
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET
    kept = excluded.kept, ended = excluded.ended, failed = excluded.failed, cancelled = excluded.cancelled,
    sweep = excluded.sweep, mark = excluded.mark, finished = excluded.finished;

-- name: delete_workflow
DELETE FROM workflows WHERE number = ?;

-- name: workflow
SELECT * FROM workflows WHERE number = ?;

-- name: workflow_by_id
SELECT * FROM workflows WHERE id = ?;

-- name: workflows
SELECT * FROM workflows WHERE number < ? ORDER BY number DESC LIMIT ?;

-- name: sweeping
SELECT * FROM workflows WHERE sweep IS NOT NULL AND mark < total;

-- name: ends
-- How tasks ended, without their arguments, for who takes their results.
SELECT seq, id, name, state, result, error FROM tasks JOIN lanes USING (lane) WHERE seq BETWEEN ? AND ?;

-- name: members
SELECT seq, id, name, state, title, reason FROM tasks JOIN lanes USING (lane) WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?;

-- name: member_counts
SELECT state, count(*) FROM tasks WHERE seq BETWEEN ? AND ? GROUP BY state;

-- name: blocked
-- Tasks that wait for others, by queue. They stand at the end of the index `tasks_due`.
SELECT queue, count(*) FROM tasks JOIN lanes USING (lane)
WHERE state IN ('pending', 'retrying') AND due = 9e999 GROUP BY queue;

-- name: put_log
-- Told twice, it is kept once: lines are not worth a commit that is refused.
INSERT OR IGNORE INTO logs (seq, lease, first, last, lines)
SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM tasks WHERE seq = ?1);

-- name: forget_lines
DELETE FROM logs WHERE seq = ?1 AND lease = ?2 AND first >= ?3 AND last <= ?4;

-- name: forget_old_runs
-- A task may run any number of times (`Snooze`): the logs of its last few runs are kept. Looked at with the first chunk of a
-- run, which need not begin with line 1: that one may have been dropped.
DELETE FROM logs
WHERE seq = ?1 AND lease < (
    SELECT min(lease) FROM (SELECT DISTINCT lease FROM logs WHERE seq = ?1 ORDER BY lease DESC LIMIT ?4)
) AND NOT EXISTS (SELECT 1 FROM logs AS other WHERE other.seq = ?1 AND other.lease = ?2 AND other.first < ?3);

-- name: delete_logs
DELETE FROM logs WHERE seq = ?;

-- name: logs
SELECT seq, lease, first, last, lines FROM logs
WHERE seq = ?1 AND lease = ?2 AND last > ?3
UNION ALL
SELECT seq, lease, first, last, lines FROM logs
WHERE seq = ?1 AND lease > ?2
ORDER BY lease, first LIMIT ?4;

-- name: put_lease
INSERT OR REPLACE INTO leases (lease, node, incarnation, session, epoch, granted, open, alone)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: delete_lease
DELETE FROM leases WHERE lease = ?;

-- name: put_setting
INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?);

-- name: delete_setting
DELETE FROM settings WHERE name = ?;

-- name: settings
SELECT name, value FROM settings;

-- name: start_count
INSERT INTO counts (queue, state, tasks) VALUES (?, ?, 0) ON CONFLICT DO NOTHING;

-- name: add_count
UPDATE counts SET tasks = tasks + ?3 WHERE queue = ?1 AND state = ?2;

-- name: task_by_id
SELECT * FROM task_rows WHERE id = ?;

-- name: task_by_seq
SELECT * FROM task_rows WHERE seq = ?;

-- name: task_by_key
SELECT * FROM task_rows WHERE key = ?;

-- name: lane
-- "(due, seq) > (?, ?)" would use the index for due alone and walk over all tasks of that very due: 15 ms instead of 0.1
-- where 250,000 were due at once. Two ranges, which SQLite merges in order, read `limit` rows.
SELECT * FROM task_rows
WHERE state = 'queued' AND queue = ?1 AND name = ?2 AND partition = ?3 AND priority = ?4 AND due = ?5 AND seq > ?6
UNION ALL
SELECT * FROM task_rows
WHERE state = 'queued' AND queue = ?1 AND name = ?2 AND partition = ?3 AND priority = ?4 AND due > ?5
ORDER BY due, seq LIMIT ?7;

-- name: due
-- In two ranges, as in `lane`.
SELECT * FROM task_rows WHERE state IN ('pending', 'retrying') AND due = ?1 AND seq > ?2
UNION ALL
SELECT * FROM task_rows WHERE state IN ('pending', 'retrying') AND due > ?1
ORDER BY due, seq LIMIT ?3;

-- name: expiry
SELECT * FROM task_rows
WHERE expires IS NOT NULL AND expires <= ? AND (state = 'queued' OR state = 'pending' OR state = 'retrying')
ORDER BY expires, seq LIMIT ?;

-- name: lanes
SELECT queue, name, partition, priority, waiting
FROM (SELECT lane, count(*) AS waiting FROM tasks WHERE state = 'queued' GROUP BY lane)
JOIN lanes USING (lane);

-- name: leases
SELECT lease, node, incarnation, session, epoch, granted, open, alone FROM leases ORDER BY lease;

-- name: counts
SELECT queue, state, tasks FROM counts;

-- name: state_count
SELECT coalesce(sum(tasks), 0) FROM counts WHERE state = ?;

-- name: history
SELECT history FROM tasks WHERE id = ?;

-- name: ended
-- One step of a walk in order of seq: who looked at it, and whether it may go (?2 to ?5: a time for each ended state). Members
-- of a workflow go when it may: as a task that succeeded, or failed if one of them did not succeed.
SELECT
    seq, id, name, queue, state, tasks.finished, tasks.created,
    CASE
        WHEN workflow IS NULL THEN tasks.finished < CASE state
            WHEN 'succeeded' THEN ?2 WHEN 'failed' THEN ?3 WHEN 'cancelled' THEN ?4 WHEN 'expired' THEN ?5
        END
        ELSE (
            SELECT w.finished < CASE w.failed WHEN 0 THEN ?2 ELSE ?3 END FROM workflows AS w WHERE w.number = tasks.workflow
        )
    END
FROM tasks JOIN lanes USING (lane)
WHERE seq > ?1
ORDER BY seq LIMIT ?6;
