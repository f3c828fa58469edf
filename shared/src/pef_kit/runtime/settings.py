"""What every service is told at its start: where it listens, who its peer is, which tokens it accepts.

Values come from the environment (`PEF_…`) or, for tokens, from files of the same lower-case name in
`/run/secrets`. There are no default tokens: a service without them does not start.
"""

import string
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pef_kit.runtime.log import LogForm

SECRETS: Final = Path("/run/secrets")
VISIBLE: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)
"""Characters that every header field can carry."""


def _in_a_header(token: SecretStr) -> SecretStr:
    if not VISIBLE.issuperset(token.get_secret_value()):
        message = "no header can carry this token; use visible ASCII characters without spaces"
        raise ValueError(message)
    return token


def _http_url(url: str) -> str:
    """Return `url` where a request can be sent to it; its text may name a password, so it is not repeated."""
    message = "this must be a URL as http://HOST:PORT, in visible ASCII characters without spaces"
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not VISIBLE.issuperset(url) or "?" in url or "#" in url:
        raise ValueError(message)
    return url


Key = Annotated[SecretStr, Field(min_length=16)]
"""What tokens are made of: it never travels."""
Token = Annotated[Key, AfterValidator(_in_a_header)]

MEBIBYTE: Final = 1 << 20
GIBIBYTE: Final = 1 << 30
TEBIBYTE: Final = 1 << 40


class ServiceSettings(BaseSettings):
    """Settings that both services have; sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="PEF_",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # Trust: what stands beside a wrong setting may be a token
    )

    host: str = "127.0.0.1"
    """Address or name to listen at."""
    port: int = Field(default=0, ge=0, le=65535)
    """TCP port to listen at; 0: any free one."""
    peer_url: Annotated[str, AfterValidator(_http_url)]
    """URL of the other side, as http://HOST:PORT."""
    peer_timeout: float = Field(default=60.0, gt=0)
    """Longest wait for one nested call, with all that nests in it, in seconds."""
    answer_within: float = Field(default=60.0, gt=0)
    """Longest wait of a request of a guest or VMM, in seconds; then it reads that it is still open."""
    peer_connections: int = Field(default=64, gt=0)
    """Nested calls in flight at one depth; more wait for their turn."""
    read_timeout: float = Field(default=30.0, gt=0)
    """Longest time that a request may take to arrive, in seconds; a large body gets more, by its size."""
    stop_timeout: float = Field(default=3.0, gt=0)
    """Longest wait for requests that are under way when the service is told to stop, in seconds."""
    connections: int = Field(default=2048, gt=0)
    """Most connections; beyond that the one that has been idle for longest makes way."""
    normal_memory: str = ""
    """Directory of the file of normal memory, which both sides map; empty: over HTTP, by its owner."""
    normal_memory_size: int = Field(default=4 * TEBIBYTE, gt=0)
    """Bytes of normal memory."""
    log: LogForm = LogForm.OFF
    """A line per call on standard error: `text` or `json`; empty: only what goes wrong."""
    otlp_endpoint: str = Field(default="", pattern=r"^(https?://[!-~]+)?$")
    """Whole URL to which spans are sent by OTLP over HTTP; empty: nowhere. Needs the extra `otel`."""
    hypervisor_token: Token
    """Token of the Hypervisor at the Ultravisor; at least 16 visible ASCII characters."""
    ultravisor_token: Token
    """Token of the Ultravisor at the Hypervisor; at least 16 visible ASCII characters."""
    observer_token: Token
    """Token that reads traces, views and metrics; at least 16 visible ASCII characters."""
    guest_key: Key
    """Key of which this side's guest tokens are made; at least 16 characters."""

    @model_validator(mode="after")
    def _tokens_differ(self) -> Self:
        tokens = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        if len(set(tokens)) != len(tokens):
            message = "two roles have the same token"
            raise ValueError(message)
        return self
