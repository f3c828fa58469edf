"""`pef console` as it is typed. It imports what it works with when it runs."""

from pef_lab import options as given


def console(
    port: given.ConsolePort = 0,
    bind: given.Bind = None,
    published: given.Published = None,
    read_only: given.ReadOnly = False,
    opened: given.Opened = None,
    files: given.Files = None,
) -> None:
    """Serve the console on loopback until Ctrl-C: a page that shows both sides, to step through."""
    from pef_console.serving import Wanted, serve
    from pef_lab.signals import run_until_ended

    run_until_ended(serve(Wanted(port, bind, published, read_only, opened, files)))
