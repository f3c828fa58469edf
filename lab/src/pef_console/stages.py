"""The stages of this console: what opens each of them, and why one can't be opened."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pef_console.catalogue import Catalogue
from pef_console.designs import listed_designs
from pef_console.live.opening import OWN_PAIRS, LiveSettings, live_opener
from pef_console.machines import Machines
from pef_console.openers import Openers
from pef_console.recorded.folder import Folder, default_folder, text_of
from pef_console.recorded.reading import Reader
from pef_console.routes.opening import OpenFile, OpenLesson, OpenModel, OpenUpload
from pef_console.stage import Opener, Publish, Stage

SERVICES: Final = ("pef_ultravisor", "pef_hypervisor")
NO_SERVICES: Final = "the services' own code is not installed here: this takes pef-lab[pair]"
NO_LIVE: Final = "the services are not installed here, and this console was given no running pair"


class Stages:
    """Opens what the console can show: the model, files, lessons, and pairs of services over HTTP.

    `moves`: limit of a session. `live`: which pair live sessions run on; one of its own where none is named.
    The explorer is imported only where the services are installed, whose own code it drives.
    """

    def __init__(self, moves: int, files: Path | None, live: LiveSettings = OWN_PAIRS) -> None:
        self._moves = moves
        self._live = live
        self._machines = Machines()
        self._folder = Folder(files or default_folder())
        self._has_services = all(find_spec(name) is not None for name in SERVICES)
        self._reader = Reader(self._machines, moves, "" if self._has_services else NO_SERVICES)

    def openers(self) -> Openers:
        """Return the openers; without the services' code there are recordings alone."""
        known: dict[str, Opener] = {"file": self._file, "upload": self._upload}
        missing: dict[str, str] = {}
        if self._has_services or self._live.endpoints is not None:
            known["live"] = live_opener(self._live)
        else:
            missing["live"] = NO_LIVE
        if self._has_services:
            known |= {"model": self._model, "lesson": self._lesson}
        else:
            missing |= dict.fromkeys(("model", "lesson"), NO_SERVICES)
        return Openers(known, missing)

    def catalogue(self) -> Catalogue:
        """Return what can be opened and looked up."""
        if not self._has_services:
            return Catalogue(self._folder.listed, listed_designs())
        from pef_console.known_lessons import listed_lessons

        return Catalogue(self._folder.listed, listed_designs(), listed_lessons)

    async def open_path(self, path: Path) -> Stage:
        """Open a file that need not be in the list; raise WrongInput where it can't be shown."""
        return await self._reader.open(text_of(path), str(path))

    def close(self) -> None:
        """Let the thread of the machines end."""
        self._machines.close()

    async def _file(self, given: OpenFile, _: Publish) -> Stage:
        return await self._reader.open(self._folder.read(given.file), given.file)

    async def _upload(self, given: OpenUpload, _: Publish) -> Stage:
        return await self._reader.open(given.upload, given.name)

    async def _model(self, given: OpenModel, _: Publish) -> Stage:
        from pef_console.model import open_model

        return await open_model(self._machines, self._moves, given)

    async def _lesson(self, given: OpenLesson, _: Publish) -> Stage:
        from pef_console.lesson import open_lesson

        return await open_lesson(self._machines, given.lesson)
