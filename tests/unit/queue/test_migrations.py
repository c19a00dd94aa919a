"""A ledger of any release comes to the tables of this one, with all that is in it; on SQLite and on PostgreSQL."""

from __future__ import annotations

import importlib.resources
import multiprocessing
import shutil
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from dicom_node.errors import ConfigurationError
from dicom_node.model import Origin, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Accepted, Ledger, migrations, open_queue
from dicom_node.queue.schema import metadata
from tests.support import first_release
from tests.support.ledgers import engine_on
from tests.support.node import Node
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine.interfaces import ReflectedColumn

FOLDER = {"clean": {"folder": "clean"}}
NEXT = """
from alembic import op
from sqlalchemy import Column, Integer, Text

revision, down_revision = "{next}", "{newest}"


def upgrade():
    op.add_column("instance", Column("added", Integer, nullable=False, server_default="3"))
    op.create_index("instance_added", "instance", ["added"])
    with op.batch_alter_table("instance") as batch:
        batch.alter_column("peer_address", existing_type=Text, nullable=True)
"""
"""What a later release may do to a ledger, and a little more: SQLite makes the table anew for the last."""


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine: Engine = engine_on(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def make_first_release(url: str) -> None:
    with connected(url) as connection:
        first_release.carry_out(connection)


def schema_of(url: str) -> dict[str, Any]:
    """Return all that the database knows of the ledger's tables."""
    with connected(url) as connection:
        inspector = inspect(connection)
        assert set(inspector.get_table_names()) - {"alembic_version"} == set(metadata.tables)
        return {name: _table(inspector, name) for name in metadata.tables}


def _table(inspector: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - SQLAlchemy's own has no exported type
    columns: list[ReflectedColumn] = inspector.get_columns(name)
    return {
        "columns": {each["name"]: (str(each["type"]), each["nullable"], each["default"]) for each in columns},
        "primary key": inspector.get_pk_constraint(name)["constrained_columns"],
        "foreign keys": [
            (each["constrained_columns"], each["referred_table"]) for each in inspector.get_foreign_keys(name)
        ],
        "unique": [each["column_names"] for each in inspector.get_unique_constraints(name)],
        "indexes": {
            each["name"]: (each["column_names"], each["unique"])
            for each in inspector.get_indexes(name)
            if not each.get("duplicates_constraint")
        },
    }


def upgraded(url: str, revision: str) -> None:
    """Carry the revisions out one after the other, on nothing."""
    with connected(url) as connection:
        command.upgrade(migrations.configuration(connection), revision)


def revision_of(url: str) -> str:
    with connected(url) as connection:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


@pytest.fixture
def two_ledgers(ledger_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    if ledger_url.startswith("sqlite"):
        return ledger_url, f"sqlite:///{tmp_path / 'other.db'}"
    return ledger_url, request.getfixturevalue("postgresql").new_ledger()


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let this process have one more revision, and return it; ``monkeypatch.undo`` takes it away again."""
    newest = migrations.revisions()[-1]
    folder = shutil.copytree(migrations.VERSIONS, tmp_path / "50% more versions")
    following = f"{int(newest) + 1:04}"
    (folder / f"{following}_next.py").write_text(NEXT.format(next=following, newest=newest), encoding="utf-8")
    monkeypatch.setattr(migrations, "VERSIONS", folder)
    return following


def entry(number: int) -> QueueEntry:
    instance = SOPInstance("1.2.840.10008.5.1.4.1.1.2", f"1.2.9.{number}", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
    origin = Origin("CT1", "NODE", "192.0.2.7", 1_600_000_000.0)
    return QueueEntry(f"{number:032x}", instance, origin, State.RECEIVED, f"{number:064x}", 7)


# The way up


def test_the_first_revision_is_what_the_first_release_made(two_ledgers: tuple[str, str]) -> None:
    by_revision, by_release = two_ledgers
    upgraded(by_revision, "0001")
    make_first_release(by_release)
    assert schema_of(by_revision) == schema_of(by_release)


def test_revision_by_revision_a_ledger_gets_exactly_the_tables_that_a_new_one_has(two_ledgers: tuple[str, str]) -> None:
    by_revision, new = two_ledgers
    upgraded(by_revision, "head")
    with closing(Ledger(new)) as ledger:
        ledger.create()
    assert schema_of(by_revision) == schema_of(new)
    assert revision_of(by_revision) == revision_of(new) == migrations.revisions()[-1]
    for url in two_ledgers:
        with connected(url) as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, metadata) == []


def test_a_ledger_of_the_first_release_is_brought_up_with_all_that_is_in_it(two_ledgers: tuple[str, str]) -> None:
    old, new = two_ledgers
    make_first_release(old)
    with closing(Ledger(new)) as ledger:
        ledger.create()
    with closing(Ledger(old)) as ledger:
        ledger.create()
        assert schema_of(old) == schema_of(new)
        second, first = sorted(ledger.entries(), key=lambda each: each.entry.id, reverse=True)
        assert (first.entry.attempts, first.entry.owner, first.entry.size) == (1, "machine:redact:7", 6_000_000_000)
        assert (first.entry.policy, first.entry.destinations) == ("all-text", ("PACS",))
        assert second.entry.conflict
        assert [(each.destination, each.state, each.status) for each in second.deliveries] == [
            ("PACS", State.SENT, 0xB000),
            ("RESEARCH", State.REDACTED, None),
        ]
        ledger.resume("RESEARCH")
        ledger.destination_up("RESEARCH")
        (delivery,) = ledger.claim_deliveries("RESEARCH", "me", 20, 5)
        assert (delivery.attempts, delivery.failures, delivery.instance.sop_instance_uid) == (4, 2, "1.2.3.2")
        assert ledger.settle_sent(delivery, 0x0000)
        assert ledger.counts()["SENT"] == 1


def test_a_revision_that_sqlite_can_only_carry_out_on_a_new_table_keeps_the_rows(
    ledger_url: str, next_release: str
) -> None:
    make_first_release(ledger_url)
    with closing(Ledger(ledger_url)) as ledger:
        ledger.create()
        (found,) = ledger.entries({State.REDACTED})
    assert len(found.deliveries) == 2
    assert revision_of(ledger_url) == next_release
    with connected(ledger_url) as connection:
        assert connection.execute(text("SELECT added FROM instance")).scalars().all() == [3, 3]
        if ledger_url.startswith("sqlite"):
            assert not connection.execute(text("PRAGMA foreign_key_check")).all()


def test_foreign_keys_are_looked_at_again_once_the_tables_are_made(tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ledger.create()
        on = ledger._write(lambda connection: connection.execute(text("PRAGMA foreign_keys")).scalar_one())  # noqa: SLF001 - no row can be made that would show it
    assert on == 1


def test_a_table_that_was_dropped_is_made_again_at_the_next_start(ledger_url: str) -> None:
    with closing(Ledger(ledger_url)) as ledger:
        ledger.create()
    with connected(ledger_url) as connection:
        connection.execute(text("DROP TABLE delivery"))
    with closing(Ledger(ledger_url)) as ledger:
        ledger.create()
        assert ledger.claim_deliveries("PACS", "me", 20, 5) == []


# Several at once


def _create(url: str, barrier: Any) -> None:  # noqa: ANN401 - multiprocessing's barrier has no type of its own
    barrier.wait(60)
    with closing(Ledger(url)) as ledger:
        ledger.create()
        assert ledger.accept(entry(1)) in (Accepted.NEW, Accepted.DUPLICATE)


@pytest.mark.parametrize("is_first_release", [False, True], ids=["no tables", "first release"])
def test_of_several_processes_that_start_at_once_one_makes_or_alters_the_tables(
    ledger_url: str,
    is_first_release: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    if is_first_release:
        make_first_release(ledger_url)
    method = multiprocessing.get_context("spawn")
    barrier = method.Barrier(3)
    processes = [method.Process(target=_create, args=(ledger_url, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert revision_of(ledger_url) == migrations.revisions()[-1]


# Old beside new


def test_an_older_release_starts_no_node_on_a_ledger_that_a_newer_has_altered_and_says_what_to_do(
    tmp_path: Path, ledger_url: str, next_release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Ledger(ledger_url)) as ledger:
        ledger.create()
    monkeypatch.undo()
    before = schema_of(ledger_url)
    secret = ledger_url.replace("node@", "node:hunter2@")
    with pytest.raises(ConfigurationError, match=f"revision '{next_release}'.*start the newer one") as refused:
        open_queue(tmp_path / "data", secret)
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).startswith(f"ledger: {ledger_url.partition(':')[0]}://")
    assert schema_of(ledger_url) == before


def test_a_command_of_an_older_release_ends_with_an_error_that_names_the_ledger_and_what_is_allowed(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path / "node", [{"name": "all", "policy": "all-text", "destinations": ["clean"]}], FOLDER)
    assert node.command("queue", "list").returncode == 0
    url = f"sqlite:///{node.data_dir / 'ledger.db'}"
    with connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for arguments in (["queue", "list"], ["serve"]):
        refused = node.command(*arguments)
        assert refused.returncode == 1
        newest = migrations.revisions()[-1]
        assert f"ledger: {url}: a newer dicom_node has altered it to revision '9999'" in refused.stderr
        assert f"this one allows at most '{newest}': start the newer one, or a later" in refused.stderr


def test_processes_of_an_older_release_work_on_beside_a_newer_and_are_started_again(
    tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with closing(Ledger(ledger_url)) as running:
        running.create()
        running.accept(entry(1))
        request.getfixturevalue("next_release")
        with closing(Ledger(ledger_url)) as newer:
            newer.create()
        monkeypatch.undo()
        again = open_queue(tmp_path / "data", ledger_url, beside_newer=True).ledger
        for ledger, number in ((running, 1), (again, 2)):
            ledger.accept(entry(2))
            claimed = ledger.claim("old", 20)
            assert claimed is not None
            file = RedactedFile(f"{claimed.id}.1.dcm", tmp_path, claimed.instance, 5)
            assert ledger.settle_redacted(claimed, file, ["PACS"])
            (delivery,) = ledger.claim_deliveries("PACS", "old", 20, 5)
            assert ledger.settle_sent(delivery, 0x0000)
            assert ledger.counts()["SENT"] == number
        again.close()


def test_what_the_first_release_writes_fits_the_newest_tables(ledger_url: str) -> None:
    with closing(Ledger(ledger_url)) as ledger:
        ledger.create()
        with connected(ledger_url) as connection:
            first_release.carry_out(connection, "INSERT")
        assert len(ledger.entries()) == 2


def test_tables_of_the_same_names_that_are_no_ledger_are_left_alone(tmp_path: Path, ledger_url: str) -> None:
    with connected(ledger_url) as connection:
        connection.execute(text("CREATE TABLE instance (name TEXT)"))
    with pytest.raises(ConfigurationError, match="allowed are an empty schema and a ledger of dicom_node"):
        open_queue(tmp_path / "data", ledger_url)
    with connected(ledger_url) as connection:
        assert inspect(connection).get_table_names() == ["instance"]


# The files


def test_the_revisions_are_one_line_and_named_by_their_files() -> None:
    with closing(Ledger("sqlite://")) as ledger, ledger._engine.connect() as connection:  # noqa: SLF001 - any connection will do
        scripts = ScriptDirectory.from_config(migrations.configuration(connection))
    line = [script.revision for script in scripts.walk_revisions()]
    assert line[::-1] == migrations.revisions()
    assert scripts.get_heads() == migrations.revisions()[-1:]


def test_the_revisions_are_in_the_package() -> None:
    package = importlib.resources.files("dicom_node.queue.migrations")
    assert package.joinpath("env.py").is_file()
    assert package.joinpath("versions", "0001_first.py").is_file()


def test_a_start_does_not_wait_for_alembic_where_nothing_is_to_be_altered(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    program = (
        f"import sys; from dicom_node.queue import Ledger; Ledger({url!r}).create(); print('alembic' in sys.modules)"
    )
    for _ in ("new", "there"):
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
        assert told.stdout == "False\n"
