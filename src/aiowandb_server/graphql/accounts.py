"""Changes to users, teams and keys."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import Resolvers
from aiowandb_server.graphql.scalars import encode_id, row_id

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.records import Entity

resolvers = Resolvers()

_NAME = re.compile(r"[\w.+\-]{1,128}")


@resolvers.mutation("createTeam")
def create_team(context: Context, team: dict[str, Any]) -> dict[str, Any]:
    accounts = context.store.accounts
    _check_name(team["teamName"])
    if accounts.entity(team["teamName"]):
        raise RequestError(f"the entity {team['teamName']!r} already exists", 409)
    leader = context.viewer
    if name := team.get("teamAdminUserName"):
        leader = accounts.user(name) or leader
    entity = accounts.ensure_entity(team["teamName"], is_team=True)
    accounts.add_member(entity.id, leader.id, is_admin=True)
    return {"entity": entity}


@resolvers.mutation("createInvite")
def create_invite(context: Context, invite: dict[str, Any]) -> dict[str, Any]:
    entity = _led_entity(context, invite["entityName"])
    wanted = invite.get("username") or invite.get("email") or ""
    found = context.store.accounts.search_users(wanted)
    if not found:
        raise RequestError(f"user {wanted!r} not found", 404)
    context.store.accounts.add_member(entity.id, found[0].id, is_admin=bool(invite.get("admin")))
    return {
        "invite": {
            "id": encode_id("User", found[0].id),
            "name": found[0].name,
            "email": found[0].email,
            "createdAt": found[0].created_at,
            "toUser": found[0],
        }
    }


@resolvers.mutation("deleteInvite")
def delete_invite(context: Context, invite: dict[str, Any]) -> dict[str, Any]:
    member = row_id("User", invite.get("id") or "")
    name = invite.get("entityName") or ""
    # Whoever wants to may leave.
    leaves = member == context.viewer.id
    entity = _member_entity(context, name) if leaves else _led_entity(context, name)
    return {"success": context.store.accounts.remove_member(entity.id, member)}


@resolvers.mutation("createServiceAccount")
def create_service_account(context: Context, account: dict[str, Any]) -> dict[str, Any]:
    entity = _led_entity(context, account["entityName"])
    name = f"service-{secrets.token_hex(4)}"
    user = context.store.accounts.ensure_user(name)
    context.store.accounts.add_member(entity.id, user.id)
    context.store.accounts.add_key(user.id, description=account.get("description"))
    return {"user": user}


@resolvers.mutation("createUser")
def create_user(context: Context, user: dict[str, Any]) -> dict[str, Any]:
    if not context.viewer.is_admin:
        raise RequestError("permission denied: only administrators can create users", 403)
    name = user["email"].partition("@")[0]
    _check_name(name)
    made = context.store.accounts.ensure_user(
        name, email=user["email"], is_admin=bool(user.get("admin"))
    )
    return {"user": made}


@resolvers.mutation("updateUser")
def update_user(context: Context, change: dict[str, Any]) -> dict[str, Any]:
    accounts = context.store.accounts
    user_id = row_id("User", change["id"]) if change.get("id") else context.viewer.id
    user = accounts.user_by_id(user_id)
    if user is None or (user.id != context.viewer.id and not context.viewer.is_admin):
        raise RequestError("user not found", 404)
    if name := change.get("defaultEntity"):
        entity = accounts.entity(name)
        if entity is None or not context.access.may_use(user, name):
            raise RequestError(f"no entity {name!r} that {user.username!r} belongs to", 404)
        accounts.set_default_entity(user.id, entity.id)
    return {"user": accounts.user_by_id(user.id)}


@resolvers.mutation("generateApiKey")
def generate_api_key(context: Context, wanted: dict[str, Any]) -> dict[str, Any]:
    accounts = context.store.accounts
    key = accounts.add_key(context.viewer.id, description=wanted.get("description"))
    newest = accounts.keys(context.viewer.id)[-1]
    # The only time that the full key is returned.
    return {"apiKey": replace(newest, hint=key)}


@resolvers.mutation("deleteApiKey")
def delete_api_key(context: Context, deletion: dict[str, Any]) -> dict[str, Any]:
    key_id = row_id("ApiKey", deletion["id"])
    return {"success": context.store.accounts.delete_key(context.viewer.id, key_id)}


def _check_name(name: str) -> None:
    # It is a part of the paths of links: with a slash, they would mean the files of another entity.
    if not _NAME.fullmatch(name) or not name.strip("."):
        raise RequestError(
            f"{name[:80]!r} is not a valid name: 1 to 128 letters, digits and characters of _.+-"
        )


def _led_entity(context: Context, name: str) -> Entity:
    """The team, if the viewer is one of its administrators; or the viewer's own entity."""
    entity = _member_entity(context, name)
    leaders = {row.user.id for row in context.store.accounts.members(entity.id) if row.is_admin}
    if context.viewer.id not in leaders and not context.viewer.is_admin:
        raise RequestError(f"permission denied: only administrators of {name!r} can do this", 403)
    return entity


def _member_entity(context: Context, name: str) -> Entity:
    context.require(name)
    entity = context.store.accounts.entity(name)
    if entity is None:
        raise RequestError(f"entity {name!r} not found", 404)
    return entity
