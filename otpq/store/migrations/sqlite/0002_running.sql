-- What running tasks tell: how far they are, what they keep for their next attempt, and their logs.

ALTER TABLE tasks ADD COLUMN progress BLOB; -- MessagePack [fraction, message]
ALTER TABLE tasks ADD COLUMN checkpoint BLOB;

-- Lines of one run of a task, many a row. A run is named by its lease: leases grow, so (seq, lease, first) is their order.
CREATE TABLE logs (
    seq INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    lines BLOB NOT NULL, -- MessagePack list of [number, time, stream, level, text, fields]
    UNIQUE (seq, lease, first)
) STRICT;

DROP VIEW task_rows;
CREATE VIEW task_rows AS
SELECT
    seq, id, name, queue, partition, priority, state, due, expires, created, updated, options,
    coalesce(payload, (SELECT large.payload FROM payloads AS large WHERE large.seq = tasks.seq)) AS payload,
    key, parent, tags, title, attempt, interruptions, started, finished, result, error, reason, ran, history,
    progress, checkpoint
FROM tasks JOIN lanes USING (lane);
