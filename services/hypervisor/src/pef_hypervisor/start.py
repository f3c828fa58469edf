"""Starts the Hypervisor in an environment that has its settings alone."""

from pef_kit.runtime.environment import keep_settings_only


def main() -> None:
    """Run the service until it is told to stop."""
    keep_settings_only()
    from pef_hypervisor import app  # noqa: PLC0415 - libraries read variables when they are imported

    app.main()


if __name__ == "__main__":
    main()
