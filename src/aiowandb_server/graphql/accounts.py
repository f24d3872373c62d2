"""Changes to users, teams and keys."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiowandb_server.errors import RequestError
from aiowandb_server.graphql.resolving import Resolvers
from aiowandb_server.graphql.scalars import row_id, row_id_or_none

if TYPE_CHECKING:
    from aiowandb_server.graphql.context import Context
    from aiowandb_server.store.records import Entity

resolvers = Resolvers()

_NAME = re.compile(r"[\w.+\-]{1,128}")


@resolvers.mutation("createTeam")
def create_team(context: Context, team: dict[str, Any]) -> dict[str, Any]:
    accounts = context.store.accounts
    _check_name(team["teamName"])
    leader = context.viewer
    name = team.get("teamAdminUserName") or leader.username
    if name != leader.username:
        # Nobody becomes a member without having accepted.
        if not leader.is_admin:
            raise RequestError("only administrators can create teams for others: invite them", 403)
        leader = accounts.user(name) or leader
    return {"entity": accounts.create_team(team["teamName"], leader.id)}


@resolvers.mutation("createInvite")
def create_invite(context: Context, invite: dict[str, Any]) -> dict[str, Any]:
    """Invite a user by name, or anybody by email address: the answer says nothing about them.

    Whom an administrator of the server invites is a member at once, as there are no emails here.
    """
    store = context.store
    entity = require_led_entity(context, invite["entityName"])
    name, email = invite.get("username"), invite.get("email")
    is_admin = bool(invite.get("admin"))
    if not (name or email):
        raise RequestError("`username` or `email` is missing")
    members = {row.user.username: row.user.email for row in store.accounts.members(entity.id)}
    if name in members or (not name and email in members.values()):
        raise RequestError(f"{name or email!r} is a member of {entity.name!r} already", 409)
    if name and store.accounts.user(name) is None:
        raise RequestError(f"user {name!r} not found", 404)
    made = store.invites.add(entity.id, name or str(email), is_email=not name, is_admin=is_admin)
    if context.viewer.is_admin:
        for found in store.accounts.search_users(made.invited):
            store.invites.accept(entity.id, found)
    return {"invite": made}


@resolvers.mutation("acceptInvite")
def accept_invite(context: Context, invite: dict[str, Any]) -> dict[str, Any]:
    entity = context.store.accounts.entity(invite["entityName"])
    if entity is None or not context.store.invites.accept(entity.id, context.viewer):
        raise RequestError(f"you are not invited to {invite['entityName']!r}", 404)
    return {"success": True}


@resolvers.mutation("deleteInvite")
def delete_invite(context: Context, invite: dict[str, Any]) -> dict[str, Any]:
    """Remove a member, or take back or decline an invitation: the id is that of a `Member`."""
    store = context.store
    wanted, name = invite.get("id") or "", invite.get("entityName") or ""
    if (invite_id := row_id_or_none("Invite", wanted)) is not None:
        team = store.accounts.entity(name)
        if team is not None and store.invites.delete(team.id, invite_id, context.viewer):
            return {"success": True}
        return {"success": store.invites.delete(require_led_entity(context, name).id, invite_id)}
    member = row_id("User", wanted)
    # Whoever wants to may leave.
    leaves = member == context.viewer.id
    entity = _member_entity(context, name) if leaves else require_led_entity(context, name)
    return {"success": store.accounts.remove_member(entity.id, member)}


@resolvers.mutation("createServiceAccount")
def create_service_account(context: Context, account: dict[str, Any]) -> dict[str, Any]:
    entity = require_led_entity(context, account["entityName"])
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
    found = accounts.find_key(key)
    # The only time that the full key is returned.
    return {"apiKey": found and replace(found, hint=key)}


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


def require_led_entity(context: Context, name: str) -> Entity:
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
