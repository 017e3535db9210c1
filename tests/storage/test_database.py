from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, inspect, text

from podflare_nb.errors import ConflictError, NoCapacityError
from podflare_nb.storage import keys, sandboxes, tenants  # noqa: F401 - they declare their tables
from podflare_nb.storage.database import FILE_NAME, Database, metadata
from podflare_nb.storage.migrations import MIGRATIONS
from podflare_nb.storage.tenants import TenantRecord, TenantRecords


def test_a_new_file_is_at_this_versions_schema_and_only_its_owners(tmp_path):
    with Database.open(tmp_path) as database:
        assert database.schema_version == len(MIGRATIONS)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_the_migrations_make_the_tables_that_the_code_reads(tmp_path):
    Database.open(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path / FILE_NAME}")
    found = inspect(engine)
    for table in metadata.sorted_tables:
        columns = {column["name"]: column for column in found.get_columns(table.name)}
        assert columns.keys() == set(table.columns.keys())
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable, f"{table.name}.{column.name}"
    engine.dispose()


def test_a_later_migration_keeps_what_was_written_before(tmp_path):
    with Database.open(tmp_path) as database:
        TenantRecords(database).put(TenantRecord("a", "A", datetime.now(UTC), 5))
    later = (*MIGRATIONS, ("ALTER TABLE tenants ADD COLUMN note VARCHAR",))
    with Database.open(tmp_path, migrations=later) as database:
        assert database.schema_version == len(MIGRATIONS) + 1
        assert [tenant.id for tenant in TenantRecords(database).list()] == ["a"]


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path):
    broken = (*MIGRATIONS, ("CREATE TABLE half (id INTEGER)", "NOT SQL AT ALL"))
    with pytest.raises(ConflictError):
        Database.open(tmp_path, migrations=broken)
    with Database.open(tmp_path) as database:
        assert database.schema_version == len(MIGRATIONS)


def test_a_file_of_a_newer_version_is_refused_with_a_sentence(tmp_path):
    Database.open(tmp_path, migrations=(*MIGRATIONS, ("CREATE TABLE new (id INTEGER)",))).close()
    with pytest.raises(ConflictError, match="newer podflare_nb"):
        Database.open(tmp_path)


def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path):
    (tmp_path / FILE_NAME).write_text("this is no database, and long enough to be looked at as one" * 100)
    with pytest.raises(ConflictError, match=FILE_NAME):
        Database.open(tmp_path)


def test_the_generation_changes_when_another_process_writes(tmp_path):
    with Database.open(tmp_path) as ours, Database.open(tmp_path) as theirs:
        before = ours.generation
        TenantRecords(ours).put(TenantRecord("a", "A", datetime.now(UTC), 5))
        assert ours.generation == before
        TenantRecords(theirs).put(TenantRecord("b", "B", datetime.now(UTC), 5))
        assert ours.generation != before


def test_closing_twice_is_closing_once(tmp_path):
    database = Database.open(tmp_path)
    database.close()
    database.close()
    assert "closed" in repr(database)


@pytest.mark.parametrize("way", ["execute", "insert"])
def test_a_full_disk_is_told_as_one(tmp_path, way):
    with Database.open(tmp_path) as database:
        database._connection.exec_driver_sql("CREATE TABLE large (content)")
        database._connection.exec_driver_sql("PRAGMA max_page_count = 1")  # no page more than there are
        insert = "INSERT INTO large VALUES (zeroblob(100000))"
        with pytest.raises(NoCapacityError, match="the disk of the data directory is full"):
            database.insert(insert, ()) if way == "insert" else database.execute(text(insert))
