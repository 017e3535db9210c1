"""How the file came to look as it does: one entry per schema version, run in order, never edited."""

from __future__ import annotations

Migration = tuple[str, ...]
"""The statements that bring a database from the version before to this one."""

_FIRST: Migration = (
    """CREATE TABLE tenants (
        id VARCHAR NOT NULL PRIMARY KEY,
        name VARCHAR NOT NULL,
        created_at BIGINT NOT NULL,
        max_sandboxes INTEGER NOT NULL,
        max_memory_mib INTEGER
    )""",
    """CREATE TABLE api_keys (
        id VARCHAR NOT NULL PRIMARY KEY,
        tenant_id VARCHAR NOT NULL REFERENCES tenants (id),
        digest VARCHAR NOT NULL UNIQUE,
        label VARCHAR NOT NULL,
        created_at BIGINT NOT NULL,
        last_used_at BIGINT,
        revoked_at BIGINT
    )""",
    # sequence, not created_at, is what a page's cursor stands on: two creates may share a microsecond.
    """CREATE TABLE sandboxes (
        sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id VARCHAR NOT NULL UNIQUE,
        tenant_id VARCHAR NOT NULL,
        template VARCHAR NOT NULL,
        kernel_id VARCHAR,
        created_at BIGINT NOT NULL,
        timeout_seconds INTEGER NOT NULL,
        idle_timeout_seconds INTEGER NOT NULL,
        labels JSON NOT NULL,
        limits JSON NOT NULL,
        title VARCHAR,
        ended_at BIGINT,
        end_reason VARCHAR,
        end_message VARCHAR
    )""",
    "CREATE INDEX sandboxes_of_tenant ON sandboxes (tenant_id, sequence)",
    "CREATE INDEX sandboxes_live ON sandboxes (sequence) WHERE ended_at IS NULL",
)

_BRANCHES: Migration = (
    # The first of a family has none of these but merged_into and checkpoints.
    "ALTER TABLE sandboxes ADD COLUMN family VARCHAR",
    "ALTER TABLE sandboxes ADD COLUMN parent_id VARCHAR",
    "ALTER TABLE sandboxes ADD COLUMN forked_turn_id VARCHAR",
    "ALTER TABLE sandboxes ADD COLUMN forked_at BIGINT",
    "ALTER TABLE sandboxes ADD COLUMN merged_into VARCHAR",
    "ALTER TABLE sandboxes ADD COLUMN checkpoints INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX sandboxes_of_family ON sandboxes (family, sequence) WHERE family IS NOT NULL",
    "CREATE INDEX sandboxes_of_fork ON sandboxes (parent_id, forked_at) WHERE parent_id IS NOT NULL",
)

MIGRATIONS: tuple[Migration, ...] = (_FIRST, _BRANCHES)
