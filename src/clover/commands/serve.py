"""clover serve."""

from __future__ import annotations

import math
import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from clover.allocator import share_arenas
from clover.commands.options import parse
from clover.errors import ConfigError

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_UPLOADS = "beside the library"


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Show a library in the browser, and answer programs by a REST API, until Ctrl-C."""

    library: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LIBRARY")]
    """Folder of the library, or milvus://HOST:PORT/NAME."""
    checkpoint: str = ""
    """Checkpoint folder, when it is no longer where it was while indexing."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    token_file: str = ""
    """File that holds the token which clients must show; the environment variable CLOVER_TOKEN holds one too."""
    public_url: str = ""
    """Address under which a reverse proxy shows the server, such as https://films.example.org."""
    uploads: str = _UPLOADS
    """Folder for files uploaded in the browser, LIBRARY-uploads unless another is named; with "" none are taken."""
    max_upload_mib: int = 512
    """Largest file that is taken, in MiB."""
    max_uploads_gib: float = 20.0
    """Most that all uploaded files may take together, in GiB."""
    max_waiting: int = 64
    """Most searches and questions that wait; further ones are told to come again later."""
    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1."""
    open: bool = False
    """Show the page in the browser of this machine."""


def serve(arguments: Sequence[str]) -> None:
    """Run `clover serve`."""
    options = parse(ServeOptions, arguments, command="serve")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is not installed: pip install 'clover-vl[serve]'")
    from clover.commands.searching import open_with_model
    from clover.files import check_writable
    from clover.serving.app import create_app
    from clover.serving.server import address_of, bind, run
    from clover.serving.settings import ServingConfig

    if not 0 < options.max_uploads_gib < math.inf:
        raise ConfigError(f"--max-uploads-gib is {options.max_uploads_gib}; give a number of GiB above 0")
    share_arenas()
    uploads = uploads_folder(options)
    config = ServingConfig(
        host=options.host,
        token=read_token(options.token_file),
        public_url=options.public_url,
        uploads=uploads,
        max_upload_bytes=options.max_upload_mib * 2**20,
        max_uploads_bytes=int(options.max_uploads_gib * 2**30),
        max_waiting=options.max_waiting,
    )
    listening = bind(options.host, options.port)
    try:
        if uploads is not None:
            check_writable(uploads)
        clover, library = open_with_model(options.library, options.checkpoint, options.device)
        app = create_app(library, clover, config)
    except BaseException:
        listening.close()
        raise
    url = address_of(listening)

    def announce() -> None:
        print(f"{len(library)} moments at {url} (Ctrl-C ends it)", flush=True)
        if options.open:
            webbrowser.open(url)

    run(app, listening, on_start=announce)
    print("clover: the server has ended", file=sys.stderr)


def uploads_folder(options: ServeOptions) -> Path | None:
    """Where uploaded files go: beside a library in a folder, unless another place, or none, is named."""
    if options.uploads != _UPLOADS:
        return Path(options.uploads).resolve() if options.uploads else None
    if "://" in options.library:
        return None
    library = Path(options.library).resolve()
    return library.with_name(f"{library.name}-uploads")


def read_token(path: str) -> str:
    """The token of a file or, without one, of the environment; may be empty.

    Raises:
        ConfigError: the file cannot be read, or holds none.
    """
    if not path:
        return os.environ.get("CLOVER_TOKEN", "").strip()
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not text"
        raise ConfigError(f"the token file {path} cannot be read: {reason}; write the token into it") from None
    if not token:
        raise ConfigError(f"the token file {path} is empty; write the token into it")
    return token
