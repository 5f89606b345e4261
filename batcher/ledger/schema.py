"""The ledger's file: one SQLite database per run. Everything except the blobs is readable with the `sqlite3` program.

`window` holds the input as it was read, `settlement` the outcomes of rows of a window (later ones win), `unsettled` how
much of a window is left to do (in a table of its own, because SQLite rewrites whole rows), `tally` the counts of both,
updated in the same transactions, so that a summary never needs to read the rest. `sample` shows how a session's figures
grew: one row per second at first, fewer in a long run. A `mark` is a `Stamp`: a moment that stays comparable even if
the wall clock is set.
"""

from __future__ import annotations

APPLICATION_ID = 0x62746368
"""`btch`, stored in SQLite's `application_id`."""
VERSION = 6
UPGRADES = {
    3: (
        "ALTER TABLE settlement ADD COLUMN lost_mark TEXT",
        "ALTER TABLE session ADD COLUMN ended_mark TEXT",
    ),
    4: ("ALTER TABLE settlement ADD COLUMN receipts BLOB",),
    5: ("ALTER TABLE window ADD COLUMN given BLOB",),
}
"""Statements that upgrade a ledger of this version to the next, when its run is continued; reading needs no upgrade."""

TABLES = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE source (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, format TEXT NOT NULL,
    is_spool INTEGER NOT NULL, size INTEGER NOT NULL, ended TEXT
);
CREATE TABLE window (
    id INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, rows INTEGER NOT NULL, forms INTEGER NOT NULL,
    position TEXT NOT NULL,
    action BLOB NOT NULL, user BLOB NOT NULL, user_entries BLOB, "group" BLOB NOT NULL, group_entries BLOB,
    line BLOB NOT NULL, source BLOB NOT NULL, rejects BLOB NOT NULL, given BLOB
);
CREATE TABLE unsettled (window INTEGER PRIMARY KEY, changes INTEGER NOT NULL);
CREATE TABLE settlement (
    id INTEGER PRIMARY KEY, window INTEGER NOT NULL, batch INTEGER NOT NULL, at REAL NOT NULL, lost_at REAL,
    rows BLOB NOT NULL, status BLOB NOT NULL, details BLOB NOT NULL, history BLOB NOT NULL, lost_mark TEXT,
    receipts BLOB
);
CREATE INDEX settlement_of_window ON settlement (window);
CREATE TABLE tally (status INTEGER PRIMARY KEY, changes INTEGER NOT NULL);
CREATE TABLE session (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, started REAL NOT NULL, ended REAL, cause TEXT, reason TEXT,
    seconds REAL, requests TEXT, waited TEXT, took TEXT, ended_mark TEXT
);
CREATE TABLE sample (
    session INTEGER NOT NULL, seconds REAL NOT NULL, in_flight INTEGER NOT NULL, "limit" INTEGER NOT NULL,
    requests TEXT NOT NULL, waited TEXT NOT NULL
);
"""
