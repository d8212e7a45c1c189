-- Schedules: what makes tasks when it is their time, and how far each has come.

CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    added REAL NOT NULL,      -- its incarnation; intervals count from here
    source TEXT NOT NULL,     -- set, file, or app: and its reference
    definition BLOB NOT NULL, -- the core's own, opaque here
    enabled INTEGER CHECK (enabled IN (0, 1)), -- what was said at run time
    next REAL,                -- moves on in the commit that inserts the task of this slot, so that it fires once
    last REAL,
    task BLOB CHECK (length(task) = 16),
    runs INTEGER NOT NULL,
    waiting BLOB NOT NULL     -- MessagePack list of slots that wait for the end of that task
) STRICT, WITHOUT ROWID;
