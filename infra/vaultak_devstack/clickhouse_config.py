"""The embedded ClickHouse's configuration: users with explicit grants, loopback only, sized for a laptop.

Layout of a data directory: `conf/` (written at each start), `store/` (the data), `logs/`, `backups/`,
`credentials.json` (0600), `server.lock`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Literal
from urllib.parse import quote
from xml.sax.saxutils import escape

import msgspec

from vaultak.wire.codec import UNREADABLE
from vaultak_devstack.errors import StoreDamagedError
from vaultak_devstack.files import write_private
from vaultak_devstack.ports import LOOPBACK

Role = Literal["admin", "writer", "viewer"]

DATABASE = "vaultak"

BOOT_QUERIES = (
    "SYSTEM START LISTEN HTTP",
    "SYSTEM START LISTEN TCP",
    "SELECT sum(sleepEachRow(0.1)) FROM system.numbers"
    " SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0, max_execution_time = 0",
)
"""What `default` runs inside the engine: it opens the ports, then keeps the engine's one session alive."""

BOOT_MARK = "SELECT sum(sleepEachRow(0.1))"

MEMORY_LIMIT_BYTES = 3 << 30
"""Of the whole server; a quarter of the machine's memory where that is less."""

QUERY_MEMORY_LIMIT_BYTES = 1 << 30

BOOT_MEMORY_LIMIT_BYTES = 64 << 20


class Credentials(msgspec.Struct, frozen=True):
    """One generated password a role."""

    admin: str
    writer: str
    viewer: str

    def of(self, role: Role) -> str:
        return str(getattr(self, role))


def load_credentials(data_dir: Path) -> Credentials:
    """The passwords of this store, generated at first use. Raises `StoreDamagedError` for an unreadable file."""
    path = data_dir / "credentials.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except FileNotFoundError:
        pass
    except (OSError, *UNREADABLE) as e:
        raise StoreDamagedError(f"ClickHouse: cannot read `{path}` ({e}); remove it to have new passwords") from None
    credentials = Credentials(*(secrets.token_hex(20) for _ in range(3)))
    write_private(path, msgspec.json.encode(credentials))
    return credentials


def dsn(credentials: Credentials, role: Role, http_port: int, database: str = DATABASE) -> str:
    return f"clickhouse://{role}:{quote(credentials.of(role))}@{LOOPBACK}:{http_port}/{quote(database)}"


def write_config(
    data_dir: Path, credentials: Credentials, *, http_port: int, tcp_port: int, database_prefix: bool = False
) -> None:
    """Write `conf/config.xml` and `conf/users.xml`. `database_prefix`: grants hold for every `vaultak*` database."""
    conf = data_dir / "conf"
    conf.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(conf / "config.xml", _config(data_dir, http_port, tcp_port).encode())
    write_private(conf / "users.xml", _users(credentials, f"{DATABASE}*" if database_prefix else DATABASE).encode())


def _memory_limit() -> int:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return MEMORY_LIMIT_BYTES
    return min(MEMORY_LIMIT_BYTES, max(total // 4, 1 << 30))


def _config(data_dir: Path, http_port: int, tcp_port: int) -> str:
    at = escape(str(data_dir))
    return f"""<clickhouse>
  <logger>
    <level>information</level>
    <log>{at}/logs/clickhouse.log</log><errorlog>{at}/logs/clickhouse.errors.log</errorlog>
    <size>10M</size><count>2</count>
  </logger>
  <listen_host>{LOOPBACK}</listen_host><http_port>{http_port}</http_port><tcp_port>{tcp_port}</tcp_port>
  <users_config>{at}/conf/users.xml</users_config>
  <user_directories><users_xml><path>{at}/conf/users.xml</path></users_xml></user_directories>
  <max_server_memory_usage>{_memory_limit()}</max_server_memory_usage>
  <mark_cache_size>268435456</mark_cache_size>
  <max_connections>256</max_connections><max_concurrent_queries>100</max_concurrent_queries>
  <max_thread_pool_size>1000</max_thread_pool_size>
  <keep_alive_timeout>30</keep_alive_timeout>
  <storage_configuration><disks><backups><type>local</type><path>{at}/backups/</path></backups></disks></storage_configuration>
  <backups><allowed_disk>backups</allowed_disk></backups>
  <query_log>
    <database>system</database><table>query_log</table>
    <engine>ENGINE = MergeTree PARTITION BY event_date ORDER BY (event_date, event_time)
      TTL event_date + INTERVAL 3 DAY DELETE SETTINGS ttl_only_drop_parts = 1</engine>
    <flush_interval_milliseconds>5000</flush_interval_milliseconds>
    <max_size_rows>65536</max_size_rows><reserved_size_rows>1024</reserved_size_rows>
    <buffer_size_rows_flush_threshold>32768</buffer_size_rows_flush_threshold>
  </query_log>
</clickhouse>
"""


def _users(credentials: Credentials, database: str) -> str:
    db = f"`{database}`.*" if not database.endswith("*") else f"{database}.*"
    admin = (
        f"GRANT ALL ON {db}",
        # Engines that reach for files or hosts need a grant on that source as well, which nobody has.
        "GRANT TABLE ENGINE ON *",
        "GRANT SELECT ON system.*",
        "GRANT READ, WRITE ON DISK",  # for BACKUP and RESTORE, on the disk of that name alone
        "GRANT KILL QUERY, SYSTEM FLUSH LOGS ON *.*",
    )
    writer = (f"GRANT SELECT, INSERT ON {db}",)
    viewer = (f"GRANT SELECT ON {db}",)
    # `default` keeps an empty password (the engine's own session needs it), so its quota is exactly the boot queries:
    # whoever else uses the name gets constants at most (`SELECT 1` counts towards no quota), in little memory.
    return f"""<clickhouse>
  <profiles>
    <default><max_memory_usage>{QUERY_MEMORY_LIMIT_BYTES}</max_memory_usage></default>
    <writer><max_memory_usage>{QUERY_MEMORY_LIMIT_BYTES}</max_memory_usage><async_insert>0</async_insert></writer>
    <boot>
      <max_memory_usage>{BOOT_MEMORY_LIMIT_BYTES}</max_memory_usage><max_threads>1</max_threads>
      <constraints><max_memory_usage><const/></max_memory_usage><max_threads><const/></max_threads></constraints>
    </boot>
    <viewer>
      <readonly>2</readonly>
      <max_memory_usage>{QUERY_MEMORY_LIMIT_BYTES}</max_memory_usage><max_execution_time>60</max_execution_time>
      <constraints>
        <max_memory_usage><max>{QUERY_MEMORY_LIMIT_BYTES}</max></max_memory_usage>
        <max_execution_time><min>1</min><max>300</max></max_execution_time>
      </constraints>
    </viewer>
  </profiles>
  <quotas>
    <default/>
    <boot><interval><duration>315360000</duration><queries>{len(BOOT_QUERIES)}</queries></interval></boot>
  </quotas>
  <users>
    <default>
      <password></password><networks><ip>{LOOPBACK}</ip></networks><profile>boot</profile><quota>boot</quota>
      <grants>
        <query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT SELECT ON system.numbers</query>
      </grants>
    </default>
{_user("admin", credentials.admin, "default", admin)}
{_user("writer", credentials.writer, "writer", writer)}
{_user("viewer", credentials.viewer, "viewer", viewer)}
  </users>
</clickhouse>
"""


def _user(name: Role, password: str, profile: str, grants: tuple[str, ...]) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    queries = "".join(f"<query>{escape(grant)}</query>" for grant in grants)
    return (
        f"    <{name}><password_sha256_hex>{digest}</password_sha256_hex><networks><ip>{LOOPBACK}</ip></networks>"
        f"<profile>{profile}</profile><quota>default</quota><grants>{queries}</grants></{name}>"
    )
