"""The key ring: from a key that a client sent to the tenant whose it is.

Keeps what it has looked up, as long as no other process (``podflare-nb keys``) wrote to the database. When a
key was last used is written down at most once a minute.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from ..errors import InvalidArgumentError, NotFoundError
from ..storage.database import Database
from ..storage.keys import ApiKeyRecord, ApiKeyRecords
from ..storage.tenants import TenantRecord, TenantRecords
from .api_key import ApiKey, digest, new_secret
from .tenant import DEFAULT_MAX_SANDBOXES, LOCAL_TENANT_ID, Tenant

TOUCH_EVERY = timedelta(minutes=1)
SERVICE_KEY_LABEL = "podflare-nb serve"


class KeyRing:
    """Tenants and their keys. ``clock`` gives the time in UTC, ``random`` bytes fit for secrets."""

    def __init__(
        self,
        tenants: TenantRecords,
        keys: ApiKeyRecords,
        *,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._tenants = tenants
        self._keys = keys
        self._clock = clock
        self._random = random
        self._generation = keys.generation
        self._by_digest: dict[str, tuple[str, ApiKey]] = {}
        self._by_id: dict[str, ApiKey] = {}
        self._tenant_by_id: dict[str, Tenant] = {}
        self._used: dict[str, datetime] = {}
        self._touched_at = clock()

    def tenant(self, tenant_id: str) -> Tenant:
        """Find a tenant. Raises NotFoundError."""
        self._forget_what_changed()
        known = self._tenant_by_id.get(tenant_id)
        if known is None:
            record = self._tenants.get(tenant_id)
            if record is None:
                raise NotFoundError(f"There is no tenant {tenant_id!r}.")
            known = self._tenant_by_id[tenant_id] = _tenant(record)
        return known

    def tenants(self) -> list[Tenant]:
        """All tenants, by id."""
        return [_tenant(record) for record in self._tenants.list()]

    def ensure_tenant(
        self,
        tenant_id: str,
        *,
        name: str | None = None,
        max_sandboxes: int | None = None,
        max_memory_mib: int | None = None,
    ) -> Tenant:
        """Make a tenant, or change one's name and quotas as far as they are given."""
        if not tenant_id or not all(character.isalnum() or character in "-_." for character in tenant_id):
            raise InvalidArgumentError(f"{tenant_id!r} cannot name a tenant; use letters, digits and - _ . only.")
        before = self._tenants.get(tenant_id)
        record = TenantRecord(
            id=tenant_id,
            name=name or (before.name if before else tenant_id),
            created_at=before.created_at if before else self._clock(),
            max_sandboxes=max_sandboxes or (before.max_sandboxes if before else DEFAULT_MAX_SANDBOXES),
            max_memory_mib=max_memory_mib or (before.max_memory_mib if before else None),
        )
        if record != before:
            self._tenants.put(record)
        self._tenant_by_id.pop(tenant_id, None)
        return self.tenant(tenant_id)

    def create(self, tenant_id: str, *, label: str, secret: str | None = None) -> tuple[ApiKey, str]:
        """Make a key for a tenant; returns it with the key itself, which is shown once and stored nowhere.

        A given ``secret`` that is this tenant's already gives back the key that it is.
        """
        tenant = self.tenant(tenant_id)
        secret = secret or new_secret(self._random)
        known = self._keys.by_digest(digest(secret))
        if known is not None:
            if known.tenant_id != tenant.id or known.revoked_at is not None:
                raise InvalidArgumentError("This API key is revoked, or another tenant's; choose another one.")
            return _key(known), secret
        record = ApiKeyRecord(
            id=f"key_{uuid4().hex[:12]}",
            tenant_id=tenant.id,
            digest=digest(secret),
            label=label,
            created_at=self._clock(),
        )
        self._keys.add(record)
        return _key(record), secret

    def set_service_key(self, secret: str) -> ApiKey:
        """Make ``secret`` the local tenant's key that the service was started with, in place of any earlier one."""
        self.ensure_tenant(LOCAL_TENANT_ID)
        for record in self._keys.list():
            if record.label == SERVICE_KEY_LABEL and record.digest != digest(secret):
                self._keys.remove(record.id)
        self._forget()
        key, _ = self.create(LOCAL_TENANT_ID, label=SERVICE_KEY_LABEL, secret=secret)
        return key

    def all_keys(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        self.write_used()
        return [_key(record) for record in self._keys.list()]

    def revoke(self, key_id: str) -> None:
        """Revoke a key at once and for good. Raises NotFoundError."""
        if not self._keys.revoke(key_id, self._clock()):
            raise NotFoundError(f"There is no valid key {key_id!r}; 'podflare-nb keys list' shows them.")
        self._forget()

    def check(self, secret: str) -> tuple[ApiKey, Tenant] | None:
        """Recognise a key that a client sent; None for one that is unknown or revoked."""
        self._forget_what_changed()
        wanted = digest(secret)
        known = self._by_digest.get(wanted)
        if known is None:
            record = self._keys.by_digest(wanted)
            if record is None:
                return None
            known = self._by_digest[wanted] = (record.digest, _key(record))
        stored, key = known
        # Only digests are compared, so timing tells an attacker nothing about a key; the comparison is in
        # constant time all the same, lest a later change of storage make it matter.
        return self._good(key) if hmac.compare_digest(stored, wanted) else None

    def check_id(self, key_id: str) -> tuple[ApiKey, Tenant] | None:
        """Recognise a key by its id, as a login cookie holds it; None once it is revoked."""
        self._forget_what_changed()
        key = self._by_id.get(key_id)
        if key is None:
            record = self._keys.get(key_id)
            if record is None:
                return None
            key = self._by_id[key_id] = _key(record)
        return self._good(key)

    def write_used(self) -> None:
        """Write down when keys were last used; also to be called at the end."""
        if self._used:
            self._keys.touch(self._used)
            self._used = {}
        self._touched_at = self._clock()

    def _good(self, key: ApiKey) -> tuple[ApiKey, Tenant] | None:
        if key.revoked_at is not None:
            return None
        now = self._clock()
        self._used[key.id] = now
        if now - self._touched_at >= TOUCH_EVERY:
            self.write_used()
        return key, self.tenant(key.tenant_id)

    def _forget_what_changed(self) -> None:
        generation = self._keys.generation
        if generation != self._generation:
            self._generation = generation
            self._forget()

    def _forget(self) -> None:
        self._by_digest.clear()
        self._by_id.clear()
        self._tenant_by_id.clear()


@contextmanager
def open_key_ring(data_dir: Path, *, clock: Callable[[], datetime]) -> Iterator[KeyRing]:
    """Open the key ring of a data directory by itself, beside a service that may be running."""
    with Database.open(data_dir) as database:
        ring = KeyRing(TenantRecords(database), ApiKeyRecords(database), clock=clock)
        yield ring
        ring.write_used()


def _key(record: ApiKeyRecord) -> ApiKey:
    values = asdict(record)
    del values["digest"]
    return ApiKey(**values)


def _tenant(record: TenantRecord) -> Tenant:
    return Tenant(record.id, record.name, record.max_sandboxes, record.max_memory_mib)
