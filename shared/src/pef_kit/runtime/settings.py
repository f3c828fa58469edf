"""What every service is told at its start: where it listens, who its peer is, which tokens it accepts.

Values come from the environment (`PEF_…`) or, for tokens, from files of the same lower-case name in
`/run/secrets`. There are no default tokens: a service without them does not start.
"""

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS: Final = Path("/run/secrets")
Token = Annotated[SecretStr, Field(min_length=16)]

MEBIBYTE: Final = 1 << 20
GIBIBYTE: Final = 1 << 30
TEBIBYTE: Final = 1 << 40


class ServiceSettings(BaseSettings):
    """Settings that both services have; sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="PEF_",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        hide_input_in_errors=True,  # Trust: what stands beside a wrong setting may be a token
    )

    host: str = "127.0.0.1"
    port: int = 0
    peer_url: str
    peer_timeout: float = Field(default=60.0, gt=0)
    """Longest wait for one nested call, with all that nests in it."""
    answer_within: float = Field(default=60.0, gt=0)
    """Longest wait of a request of a guest or VMM; then it reads that its operation is still open."""
    peer_connections: int = Field(default=64, gt=0)
    """Nested calls in flight at one depth; more wait for their turn."""
    read_timeout: float = Field(default=30.0, gt=0)
    """Longest time that a request may take to arrive; a large body gets more, by its size."""
    stop_timeout: float = Field(default=3.0, gt=0)
    """Longest wait for requests that are under way when the service is told to stop."""
    connections: int = Field(default=2048, gt=0)
    """Most connections; beyond that the one that has been idle for longest makes way."""
    normal_memory: str = ""
    """Directory of the file of normal memory, which both sides map; empty: over HTTP, by its owner."""
    normal_memory_size: int = Field(default=4 * TEBIBYTE, gt=0)
    otlp_endpoint: str = Field(default="", pattern=r"^(https?://[!-~]+)?$")
    """Whole URL to which spans are sent by OTLP over HTTP; empty: nowhere. Needs the extra `otel`."""
    hypervisor_token: Token
    ultravisor_token: Token
    observer_token: Token
    guest_key: Token

    @model_validator(mode="after")
    def _tokens_differ(self) -> Self:
        tokens = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        if len(set(tokens)) != len(tokens):
            message = "two roles have the same token"
            raise ValueError(message)
        return self
