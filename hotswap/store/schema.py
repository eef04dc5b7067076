"""The schema of the journal: what `sqlite3 var/hotswap/journal.db` shows. `docs/reference/store.md` explains it."""

from __future__ import annotations

__all__ = ["APPLICATION", "SCHEMA", "VERSION"]

APPLICATION = 0x68737770
"""`PRAGMA application_id`: a database of somebody else is told by it, and is not touched."""

VERSION = 2
"""`PRAGMA user_version`; what a newer hotswap has written is not touched."""

SCHEMA = """
CREATE TABLE incarnation (
    id       TEXT PRIMARY KEY,
    pid      INTEGER NOT NULL,
    host     TEXT NOT NULL,
    program  TEXT NOT NULL,
    started  TEXT NOT NULL,
    ended    TEXT,
    how      TEXT
);
CREATE TABLE rollout (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    incarnation TEXT NOT NULL REFERENCES incarnation(id),
    name        TEXT NOT NULL,
    version     TEXT,
    state       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    "by"        TEXT NOT NULL,
    why         TEXT NOT NULL,
    note        TEXT NOT NULL,
    actor       TEXT NOT NULL,
    started     TEXT NOT NULL,
    changed     TEXT NOT NULL,
    pause       REAL,
    origin      TEXT,
    given       TEXT NOT NULL,
    digest      TEXT NOT NULL,
    generation  TEXT,
    packages    TEXT NOT NULL,
    below       TEXT,
    base        TEXT NOT NULL,
    brought     TEXT NOT NULL,
    before      TEXT NOT NULL,
    after       TEXT NOT NULL,
    report      TEXT NOT NULL
);
CREATE INDEX rollout_state ON rollout(state);
CREATE TABLE step (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout TEXT NOT NULL REFERENCES rollout(id) ON DELETE CASCADE,
    state   TEXT NOT NULL,
    at      TEXT NOT NULL,
    "by"    TEXT NOT NULL,
    reason  TEXT NOT NULL
);
CREATE INDEX step_rollout ON step(rollout);
CREATE TABLE standing (
    package TEXT PRIMARY KEY,
    rollout TEXT NOT NULL REFERENCES rollout(id),
    since   TEXT NOT NULL
);
CREATE TABLE lived (
    given  TEXT NOT NULL,
    digest TEXT NOT NULL,
    name   TEXT NOT NULL,
    since  TEXT NOT NULL,
    after  TEXT NOT NULL,
    PRIMARY KEY (given, digest)
);
CREATE TABLE start (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout     TEXT NOT NULL REFERENCES rollout(id) ON DELETE CASCADE,
    incarnation TEXT NOT NULL REFERENCES incarnation(id),
    at          TEXT NOT NULL,
    outcome     TEXT,
    upto        INTEGER,
    module      TEXT,
    reason      TEXT,
    UNIQUE (rollout, incarnation)
);
CREATE TABLE death (
    digest      TEXT PRIMARY KEY,
    label       TEXT NOT NULL,
    count       INTEGER NOT NULL,
    last        TEXT NOT NULL,
    upto        INTEGER NOT NULL,
    quarantined TEXT
);
CREATE TABLE refusal (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    directory TEXT NOT NULL,
    "drop"    TEXT NOT NULL,
    version   TEXT,
    digest    TEXT NOT NULL,
    error     TEXT NOT NULL,
    code      TEXT,
    reason    TEXT NOT NULL,
    first     TEXT NOT NULL,
    last      TEXT NOT NULL,
    count     INTEGER NOT NULL,
    UNIQUE (directory, "drop", digest, reason)
);
CREATE VIEW history AS
    SELECT number, started, changed, name, version, state, "by", why, note, reason, pause, id, digest FROM rollout
    UNION ALL
    SELECT NULL, first, last, "drop", version, 'rejected', '', 'dropped into ' || directory, '', reason, NULL, NULL,
        digest FROM refusal
    ORDER BY 2 DESC, 1 DESC;
"""
