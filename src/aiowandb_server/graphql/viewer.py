"""Queries for users, entities and the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiowandb_server.graphql.resolving import Resolvers, unpaged
from aiowandb_server.graphql.scalars import encode_id, row_id
from aiowandb_server.store.records import Entity

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.invites import InviteRow
    from aiowandb_server.store.records import MemberRow, UserRow

resolvers = Resolvers()

# Features that the SDK queries before it uses them; only those that are implemented.
# Names that start with AIOWANDB are our own extensions, which W&B does not have.
FEATURES = (
    "AIOWANDB_EXCLUSIVE_APPEND",
    "AIOWANDB_RUN_ORIGIN",
    "AIOWANDB_TYPED_FILE_STREAM",
    "ARTIFACT_DIGEST_ALGORITHM",
    "ARTIFACT_TAGS",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "FILESTREAM_GZIP",
    "LARGE_FILENAMES",
    "MARK_RUN_FILES_UPLOADED",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "SWEEPS_LOCAL_SCHEDULER",
    "SWEEPS_QUERY_FILTERING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "UPDATE_RUN_STATE",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)
# The id returned for an entity that does not exist.
_FREE = 0
# Without this flag the SDK would not upload the script that made a run.
_FLAGS = '{"code_saving_enabled": true}'


@resolvers("Query", "viewer")
def viewer(_: None, context: Context) -> UserRow:
    return context.viewer


@resolvers("Query", "serverInfo")
def server_info(_: None, context: Context) -> dict[str, Any]:
    return {
        "features": [{"name": name, "isEnabled": True} for name in FEATURES],
        "cliVersionInfo": {"max_cli_version": "99.0.0"},
        "latestLocalVersionInfo": None,
        "storeId": context.store.public_id,
    }


@resolvers("Query", "entity")
def entity(_: None, context: Context, name: str) -> Entity | None:
    found = context.store.accounts.entity(name)
    if found is None:
        # W&B's clients use this to check whether a name is available.
        return Entity(_FREE, name, is_team=False, created_at=0)
    return found if context.may_see(name) else None


@resolvers("Query", "users")
def users(_: None, context: Context, query: str | None = None) -> Any:
    """Those with this name, or this email address if the viewer may know it."""
    wanted = query or context.viewer.username
    found = context.store.accounts.search_users(wanted)
    return unpaged(
        [user for user in found if user.username == wanted or _may_know_email(user, context)]
    )


@resolvers("Query", "invites")
def invites(_: None, context: Context, after: str | None = None) -> list[InviteRow]:
    """The first thousand, or those after the one with this id."""
    start = row_id("Invite", after) if after else 0
    return context.store.invites.of_user(context.viewer, start)


@resolvers("Invite", "toUser")
def invited_user(invite: InviteRow, context: Context) -> UserRow | None:
    return None if invite.is_email else context.store.accounts.user(invite.invited)


@resolvers("User", "apiKeys")
def api_keys(user: UserRow, context: Context) -> Any:
    if user.id != context.viewer.id and not context.viewer.is_admin:
        return None
    return unpaged(context.access.keys(user))


# Who knows the name of another user sees what is public about them, and the teams they share.


@resolvers("User", "email")
def email(user: UserRow, context: Context) -> str | None:
    return user.email if _may_know_email(user, context) else None


@resolvers("User", "entity")
def name_of_default_entity(user: UserRow, context: Context) -> str:
    return user.default_entity if context.may_see(user.default_entity) else user.entity


@resolvers("User", "userEntity")
def own_entity(user: UserRow, context: Context) -> Entity | None:
    return _visible_entity(user.entity, context)


@resolvers("User", "defaultEntity")
def default_entity(user: UserRow, context: Context) -> Entity | None:
    return _visible_entity(user.default_entity, context)


@resolvers("User", "teams")
def teams(user: UserRow, context: Context) -> Any:
    return unpaged([context.store.accounts.entity(name) for name in _shared_teams(user, context)])


def _shared_teams(user: UserRow, context: Context) -> list[str]:
    return [name for name in context.store.accounts.teams(user.id) if context.may_see(name)]


def _may_know_email(user: UserRow, context: Context) -> bool:
    return user.id == context.viewer.id or bool(_shared_teams(user, context))


def _visible_entity(name: str, context: Context) -> Entity | None:
    return context.store.accounts.entity(name) if context.may_see(name) else None


@resolvers("Entity", "members")
def members(entity: Entity, context: Context) -> list[dict[str, Any]]:
    """The members, and whoever is invited and has not accepted yet."""
    joined = map(_member, context.store.accounts.members(entity.id))
    return [*joined, *map(_invited, context.store.invites.of_entity(entity.id))]


def _member(row: MemberRow) -> dict[str, Any]:
    return {
        "id": encode_id("User", row.user.id),
        "admin": row.is_admin,
        "pending": False,
        "email": row.user.email,
        "username": row.user.username,
        "name": row.user.name,
        "accountType": "USER",
    }


def _invited(invite: InviteRow) -> dict[str, Any]:
    return {
        "id": encode_id("Invite", invite.id),
        "admin": invite.is_admin,
        "pending": True,
        "email": invite.invited if invite.is_email else None,
        "username": None if invite.is_email else invite.invited,
        "name": invite.invited,
        "accountType": "USER",
    }


@resolvers("Entity", "user")
def user_of_entity(entity: Entity, context: Context) -> UserRow | None:
    return None if entity.is_team else context.store.accounts.user(entity.name)


resolvers.fields(
    "User",
    id=lambda user: encode_id("User", user.id),
    admin=lambda user: user.is_admin,
    flags=lambda _: _FLAGS,
    organizations=lambda _: [],
)
resolvers.fields(
    "ApiKey",
    id=lambda key: encode_id("ApiKey", key.id),
    name=lambda key: key.hint,
)
resolvers.fields(
    "Entity",
    id=lambda entity: encode_id("Entity", entity.id),
    entityType=lambda entity: "team" if entity.is_team else "user",
    available=lambda entity: entity.id == _FREE,
    readOnly=lambda _: False,
    readOnlyAdmin=lambda _: False,
    privateOnly=lambda _: False,
    isPaid=lambda _: False,
    codeSavingEnabled=lambda _: True,
    xxhashDigestsEnabled=lambda _: True,
    storageBytes=lambda _: 0,
    defaultAccess=lambda _: "PRIVATE",
)
resolvers.fields(
    "Invite",
    id=lambda invite: encode_id("Invite", invite.id),
    name=lambda invite: invite.invited,
    email=lambda invite: invite.invited if invite.is_email else None,
    entityName=lambda invite: invite.entity,
)
