"""Which roles' tokens a console was given, and what is not possible without one.

Trust: this has names of settings, never a token.
"""

from dataclasses import dataclass
from typing import Any, Final

from pef_lab.endpoints import Endpoints, variable_of
from pef_protocol.http import Role

NEEDS: Final = {
    Role.GUEST: ("ultravisor_guest_key", "hypervisor_guest_key"),
    Role.VMM: ("vmm_token",),
    Role.OBSERVER: ("observer_token",),
}
"""The parts of `Endpoints` by which one speaks as each role."""
ROLE_OF_ACTOR: Final = {"guest 0": Role.GUEST, "guest 1": Role.GUEST, "vmm": Role.VMM, "memory": Role.VMM}
"""As whom an actor's requests are made: what happens to memory, the VMM asks for."""
SPOKEN: Final = {
    Role.GUEST: "a guest's tokens",
    Role.VMM: "the VMM's token",
    Role.OBSERVER: "the observer's token",
}


@dataclass(frozen=True, slots=True)
class Keyring:
    """The roles that a console can speak as."""

    roles: frozenset[Role]

    @classmethod
    def of(cls, endpoints: Endpoints) -> "Keyring":
        """Return the roles whose tokens, or what they are minted from, are all there."""
        return cls(
            frozenset(role for role, parts in NEEDS.items() if all(getattr(endpoints, p) for p in parts))
        )

    def why_not(self, role: Role) -> str:
        """Say which token is missing to speak as `role`; empty where none is."""
        if role in self.roles:
            return ""
        return f"this console was not given {SPOKEN[role]} ({name_of(role)})"

    def shown(self) -> list[dict[str, Any]]:
        """Return it as a frame has it."""
        return [{"role": role.value, "given": role in self.roles, "name": name_of(role)} for role in NEEDS]


def name_of(role: Role) -> str:
    """Return the settings that a role's tokens come from."""
    return " and ".join(map(variable_of, NEEDS[role]))
