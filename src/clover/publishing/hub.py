"""The Hugging Face Hub: checkpoints from there and to there. The library is imported only when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clover.errors import CheckpointError
from clover.files import HUB_NAME

_SECONDS = 10.0
"""After which the Hub is taken not to be there."""


def check_name(name: str) -> None:
    """Find out before any work whether a model on the Hub can be called so.

    Raises:
        CheckpointError: it is not ``owner/name``.
    """
    if not HUB_NAME.fullmatch(name):
        raise CheckpointError(
            f"{name!r} is no name of a model on the Hub; give owner/name, of letters, digits, '-', '_' and '.'"
        )


def download(name: str, files: Sequence[str], *, revision: str | None = None) -> Path:
    """A local copy of some files of a model; what was fetched before is taken from the library's cache.

    The Hub is asked once, briefly, which commit is meant; where it cannot be reached the cache is used, and there are
    no retries.

    Args:
        name: ``owner/name``.
        files: Which files.
        revision: Branch, tag or commit; None: the newest of the main branch.

    Raises:
        CheckpointError: there is no such model or revision, or the Hub cannot be reached and the cache has no copy, or
            the library is missing.
    """
    hub = _library(f"{name} is no folder here; a model of the Hub")
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    reason = ""
    try:
        commit = hub.HfApi().model_info(name, revision=revision, timeout=_SECONDS).sha
    except GatedRepoError as error:
        raise CheckpointError(f"{name} on the Hub asks for an agreement; accept it there, and log in") from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{name} on the Hub has no revision {revision!r}; leave it out for the newest") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{name} is no folder here and no model on the Hub; check the name (a private one needs a login)"
        ) from error
    except Exception as error:  # the library passes its HTTP client's own errors on
        commit, reason = None, type(error).__name__
    try:
        found = hub.snapshot_download(
            name, revision=commit or revision, allow_patterns=list(files), local_files_only=bool(reason)
        )
    except Exception as error:
        if reason:
            raise CheckpointError(
                f"{name} is no folder here, and the Hub cannot be reached ({reason}) nor has its cache a copy; "
                "give a checkpoint folder"
            ) from error
        raise CheckpointError(
            f"{name} could not be fetched from the Hub ({type(error).__name__}); try again later"
        ) from error
    return Path(found)


def upload(
    folder: Path, name: str, *, private: bool | None, commit_message: str, revision: str | None, token: str | None
) -> str:
    """Make a model on the Hub if it is not there, and put the files of a folder into it.

    Returns:
        The commit's address.

    Raises:
        CheckpointError: the Hub refuses or cannot be reached, or the library is missing.
    """
    hub = _library("sending a model to the Hub")
    api = hub.HfApi(token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True, repo_type="model")
        made = api.upload_folder(
            repo_id=name, folder_path=str(folder), commit_message=commit_message, revision=revision, repo_type="model"
        )
    except Exception as error:
        raise CheckpointError(f"{name} could not be sent to the Hub{_cause_and_remedy(error)}") from error
    return str(getattr(made, "commit_url", made))


def _cause_and_remedy(error: Exception) -> str:
    """Why the library could not send, in brackets, and what to do about it."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    if isinstance(error, HFValidationError):
        return f": the name is malformed ({reason}); give owner/name as the Hub allows it"
    if isinstance(error, OfflineModeIsEnabled):
        return ": HF_HUB_OFFLINE is set in the environment; unset it to send"
    if isinstance(error, RevisionNotFoundError):
        return f" ({reason}); make the branch first, or leave the revision out for the main one"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, LocalTokenNotFoundError) or status in (401, 403, 404):  # 404: not seen by this token
        return f" ({reason}); log in with a token that may write there"
    # the library passes its HTTP client's own errors on, and which client that is depends on its version
    is_of_client = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests")
    if status is None and (is_of_client or isinstance(error, (ConnectionError, TimeoutError))):
        return f": the Hub cannot be reached ({type(error).__name__}); check the network, then send again"
    return f" ({reason}); try again later"


def _library(what: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(f"{what} needs huggingface_hub; pip install 'clover-vl[hf]'") from error
    return huggingface_hub
