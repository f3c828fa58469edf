"""`pef console` as it is typed. It imports what it works with when it runs."""

from pef_lab import options as given


def console(
    port: given.ConsolePort = 0,
    bind: given.Bind = None,
    published: given.Published = None,
    read_only: given.ReadOnly = False,
    opened: given.Opened = None,
    files: given.Files = None,
    ultravisor_url: given.UltravisorUrl = None,
    hypervisor_url: given.HypervisorUrl = None,
    between_ultravisor: given.BetweenUltravisor = None,
    between_hypervisor: given.BetweenHypervisor = None,
) -> None:
    """Serve the console on loopback until Ctrl-C: a page that shows both sides, to step through.

    Live sessions start a pair of their own each, or run on the pair that is named. With --between-ultravisor
    and --between-hypervisor, where that pair's services call each other, they hold its messages.
    """
    from pef_console.live.opening import live_settings
    from pef_console.serving import Wanted, serve
    from pef_lab.signals import run_until_ended

    live = live_settings(ultravisor_url, hypervisor_url, between_ultravisor, between_hypervisor, bind)
    run_until_ended(serve(Wanted(port, bind, published, read_only, opened, files, live)))
