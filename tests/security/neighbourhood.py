"""One server with three users: what each of them has, and what two of them share.

Every text of ann's is `SECRET`, so that it is recognised wherever it comes back. She and eve are
members of the team `crew`; mal is a stranger. Ann has linked what belongs to crew with what is hers
alone, in every direction: those links are where one thing leads to another that is private.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiowandb_server import RunChanges, Store
from aiowandb_server.graphql.scalars import encode_id
from aiowandb_server.store.artifact_records import ArtifactRow, CollectionRow, NewVersion
from aiowandb_server.store.records import ProjectRow, RunRow, UserRow
from aiowandb_server.store.stream import Chunk, StreamUpdate
from aiowandb_server.store.sweeps import SweepChanges

SECRET = "anns-secret"
HER_EMAIL = "private-address@ann.example"
_SWEEP = "method: random\nmetric: {{name: {0}, goal: minimize}}\nparameters: {{{0}: {{value: 1}}}}"
# Ids that no row has.
_NOTHING = 10**6


@dataclass
class Names:
    """How clients refer to what somebody has: `names` by what is named, `ids` by kind."""

    names: dict[str, str]
    ids: dict[str, str]


@dataclass
class Neighbourhood:
    """The server's content, and the names of each owner: `ann`, `eve`, `crew` and `nobody`."""

    store: Store
    owners: dict[str, Names] = field(default_factory=dict)


@dataclass(frozen=True)
class _Made:
    project: ProjectRow
    run: RunRow
    sequence: CollectionRow
    portfolio: CollectionRow
    artifact: ArtifactRow


def build_neighbourhood(store: Store) -> Neighbourhood:
    accounts = store.accounts
    users = {
        "ann": accounts.ensure_user("ann", email=HER_EMAIL),
        "eve": accounts.ensure_user("eve"),
        "mal": accounts.ensure_user("mal"),
    }
    for team, members in (("crew", ("ann", "eve")), (f"{SECRET}-team", ("ann",))):
        made = accounts.ensure_entity(team, is_team=True)
        for name in members:
            accounts.add_member(made.id, users[name].id, is_admin=name == "ann")
    hers = accounts.entity(f"{SECRET}-team")
    assert hers is not None
    accounts.set_default_entity(users["ann"].id, hers.id)
    town = Neighbourhood(store)
    built = {
        owner: _Builder(town, owner, users[author], text).build()
        for owner, author, text in (
            ("eve", "eve", "eves"),
            ("crew", "ann", "crews"),
            ("ann", "ann", SECRET),
        )
    }
    _link(town, built["ann"], built["crew"])
    known = town.owners["eve"]
    # Of the same form, so that only what they refer to makes a difference.
    town.owners["nobody"] = Names(
        {what: _unused(name) for what, name in known.names.items()},
        {kind: _without_row(kind, text) for kind, text in known.ids.items()},
    )
    return town


def _unused(name: str) -> str:
    """A name of the same length that nothing has; those of sweeps and the like are random."""
    return name.replace("eve", "nil") if "eve" in name else name[1:] + name[0]


def _without_row(kind: str, text: str) -> str:
    """The id of the same kind that belongs to nothing; clients choose theirs themselves."""
    if kind == "client":
        return text.replace("eve", "nil")
    return encode_id(base64.b64decode(text).decode().partition(":")[0], _NOTHING)


@dataclass
class _Builder:
    """Gives one owner one thing of every kind, with `text` in all of them."""

    town: Neighbourhood
    owner: str
    user: UserRow
    text: str

    def build(self) -> _Made:
        store, text = self.town.store, self.text
        project, _ = store.projects.ensure(
            self.owner, f"{self.owner}-project", user_id=self.user.id, description=text
        )
        sweep = store.sweeps.create(
            project,
            SweepChanges(text, text, _SWEEP.format(text), None, "{}", json.dumps(text), "{}"),
            user_id=self.user.id,
        )
        store.runs.upsert(project, f"{self.owner}-swept", RunChanges(sweep=sweep.name))
        run = self._run(project)
        agent = store.sweeps.add_agent(sweep, text)
        store.sweeps.heartbeat(agent, {})
        report = store.reports.add(
            project, text, spec=json.dumps({text: 1}), description=text, user_id=self.user.id
        )
        sequence, artifact, manifest = self._artifact(project, run, "data")
        portfolio = store.collections.ensure(
            project, f"{self.owner}-portfolio", f"{text}-type", "PORTFOLIO"
        )
        store.collections.change(portfolio.id, description=text)
        store.artifacts.link(artifact, portfolio, [f"{text}-alias"])
        store.alerts.add(run, text, text)
        store.accounts.add_key(self.user.id, f"{text}-key-{self.owner}", text)
        key = store.accounts.keys(self.user.id)[-1]
        entity = store.accounts.entity(self.owner)
        assert entity is not None
        invite = store.invites.add(entity.id, f"{text}@invited", is_email=True)
        file = store.files.add(run, f"{self.owner}-file.txt", text.encode())
        self.town.owners[self.owner] = Names(
            {
                "user": self.user.username,
                "team": self.owner,
                "entity": self.owner,
                "project": project.name,
                "run": run.name,
                "sweep": sweep.name,
                "agent": agent.name,
                "collection": sequence.name,
                "portfolio": portfolio.name,
                "version": f"{sequence.name}:latest",
                "alias": f"{text}-alias",
                "tag": f"{text}-tag",
                "type": sequence.type_name,
                "file": file.name,
                "report": report.name,
            },
            {
                "Project": encode_id("Project", project.id),
                "Run": encode_id("Run", run.id),
                "Sweep": encode_id("Sweep", sweep.id),
                "Agent": encode_id("Agent", agent.id),
                "File": encode_id("File", file.id),
                "Artifact": encode_id("Artifact", artifact.id),
                "Sequence": encode_id("ArtifactCollection", sequence.id),
                "Portfolio": encode_id("ArtifactCollection", portfolio.id),
                "Manifest": encode_id("Manifest", manifest),
                "User": encode_id("User", self.user.id),
                "ApiKey": encode_id("ApiKey", key.id),
                "Invite": encode_id("Invite", invite.id),
                "client": str(artifact.client_id),
            },
        )
        return _Made(project, run, sequence, portfolio, artifact)

    def _run(self, project: ProjectRow) -> RunRow:
        store, text = self.town.store, self.text
        values = json.dumps({text: {"value": text}, "_wandb": {"value": {text: text}}})
        changes = RunChanges(
            display_name=text,
            state="running",
            user_id=self.user.id,
            group=text,
            job_type=text,
            host=text,
            program=text,
            repo=text,
            git_commit=text,
            tags=[text],
            notes=text,
            description=text,
            config=values,
            summary=json.dumps({text: text}),
        )
        run, _ = store.runs.upsert(project, f"{self.owner}-run", changes)
        rows = [json.dumps({"_step": step, text: step, "text": text}) for step in range(2)]
        events = [json.dumps({f"system.{text}": 1, "_timestamp": 1})]
        chunks = {"history": rows, "events": events, "console": [f"ERROR {text}"]}
        store.stream.apply(
            run,
            StreamUpdate({name: Chunk(0, lines) for name, lines in chunks.items()}),  # type: ignore[misc]
        )
        found = store.runs.get(project, run.name)
        assert found is not None
        return found

    def _artifact(
        self, project: ProjectRow, run: RunRow, name: str
    ) -> tuple[CollectionRow, ArtifactRow, int]:
        """A committed version with a file, and the row id of its manifest."""
        store, text = self.town.store, self.text
        sequence = store.collections.ensure(project, f"{self.owner}-{name}", f"{text}-type")
        sequence = store.collections.change(sequence.id, description=text) or sequence
        store.collections.change_tags(sequence, add=[f"{text}-tag"])
        new = NewVersion(
            f"{text}-digest",
            client_id=f"client-{self.owner}-{name}",
            description=text,
            metadata=json.dumps({text: text}),
            aliases=(f"{text}-alias",),
            tags=(f"{text}-tag",),
            run_id=run.id,
            user_id=self.user.id,
        )
        pending = store.artifacts.create(sequence, new)
        entity = store.accounts.entity(self.owner)
        assert entity is not None
        blob = store.blobs.add(f"content of {text}".encode())
        store.manifests.add_content(entity.id, blob.md5, blob)
        content = {"version": 1, "contents": {text: {"digest": blob.md5, "size": blob.size}}}
        manifest = store.manifests.announce(
            pending.id, kind="FULL", name="wandb_manifest.json", digest=text, base_id=None
        )
        store.manifests.upload(manifest, store.blobs.add(json.dumps(content).encode()))
        size, count = store.manifests.settle(pending, entity.id)
        store.artifacts.use(run, pending)
        return (
            sequence,
            store.artifacts.commit(pending.id, size=size, file_count=count),
            manifest.id,
        )


def _link(town: Neighbourhood, hers: _Made, shared: _Made) -> None:
    """Links between what ann shares with eve and what is hers alone."""
    artifacts = town.store.artifacts
    artifacts.use(shared.run, hers.artifact)
    artifacts.use(hers.run, shared.artifact)
    artifacts.link(shared.artifact, hers.portfolio, [f"{SECRET}-of-crew"])
    artifacts.create(
        shared.sequence, NewVersion("by-her-run", client_id="by-her-run", run_id=hers.run.id)
    )
    artifacts.create(hers.sequence, NewVersion(SECRET, client_id="for-crew", run_id=shared.run.id))
    # She lends this version to the team, and nothing else of its collection or its project.
    lent = town.store.collections.ensure(hers.project, "lent", "lent-type")
    town.store.collections.change(lent.id, description=SECRET)
    town.store.collections.change_tags(lent, add=[SECRET])
    for digest in ("lent-digest", SECRET):
        version = artifacts.create(lent, NewVersion(digest, run_id=hers.run.id, aliases=(SECRET,)))
        artifacts.commit(version.id, size=0, file_count=0)
        if digest != SECRET:
            artifacts.link(version, shared.portfolio, ["borrowed"])


def as_nobodys(town: Neighbourhood, owners: Iterable[str], sent: str, received: str) -> str:
    """What was received, with the names of these owners that were sent replaced by nobody's."""
    nobody = town.owners["nobody"]
    pairs = [
        (text, other)
        for owner in owners
        for given, missing in (
            (town.owners[owner].names, nobody.names),
            (town.owners[owner].ids, nobody.ids),
        )
        for what, text in given.items()
        if text in sent
        for other in (missing[what],)
    ]
    for text, other in sorted(pairs, key=lambda pair: -len(pair[0])):
        received = received.replace(text, other)
    return received
