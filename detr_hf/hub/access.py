"""Where something goes on the Hub, whether it may go there (asked before hours of training), and the Hub's
errors in plain sentences."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from detr_hf.errors import UserError
from detr_hf.recipe import Hub

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
LONGEST_REASON = 300
TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")

UNSTATED = Hub.license
"""The license of what nobody has stated one for."""


def push_command(folder: Path, target: Hub) -> str:
    """The `detr-hf push` that does later what a run could not."""
    words = ["detr-hf", "push", str(folder), target.repo_id]
    words += [] if target.private else ["--public"]
    words += ["--revision", target.revision] if target.revision else []
    words += ["--license", target.license] if target.license != UNSTATED else []
    words += [] if target.pictures else ["--no-pictures"]
    return shlex.join(words)


def check_access(target: Hub, kind: str = "model") -> None:
    """Make sure that a push can work; makes the repository when it is not there yet, as private as
    ``target`` says; one that is there stays as it is.

    ``kind`` is of the repository, "model" or "dataset".

    Raises:
        UserError: there is no token or it may not write there, the Hub is out of reach or does not know the
            license, the tag exists, or the repository is public where it was to be private.
    """
    api = HfApi()
    with hub_errors(target.repo_id):
        # Tokens with permissions of their own are tried on the repository below.
        if (api.whoami().get("auth") or {}).get("accessToken", {}).get("role") == "read":
            raise UserError(f"the Hub: the token may only read; {LOG_IN}.")
        _refuse_unknown_license(target.license)
        api.create_repo(target.repo_id, repo_type=kind, private=target.private, exist_ok=True)
        # A question about a file to come needs the right to write, and changes nothing.
        api.preupload_lfs_files(target.repo_id, [CommitOperationAdd("README.md", b"-")], repo_type=kind)
        is_private = api.repo_info(target.repo_id, repo_type=kind).private
        tags = [tag.name for tag in api.list_repo_refs(target.repo_id, repo_type=kind).tags]
    if target.private and not is_private:
        raise UserError(
            f"{target.repo_id}: is public on the Hub, and this push was to be private. Choose another name, "
            "or say that all may see it: `--public`, in a recipe `hub.private: false`."
        )
    if target.revision in tags:
        raise UserError(
            f"{target.repo_id}: the tag {target.revision} exists already; choose another one "
            "(`--revision`, in a recipe `hub.revision`)."
        )


def _refuse_unknown_license(license: str) -> None:
    try:
        ModelCard(f"---\nlicense: {license}\n---\n").validate(repo_type="model")
    except ValueError as error:
        raise UserError(
            f"license: the Hub does not take {license!r} ({short(error)}); write one as it spells them, such "
            "as apache-2.0 or cc-by-4.0, or `other`."
        ) from error


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn what the client raises into one message, which never holds the token.

    Raises:
        UserError: names ``repo_id``, the reason and what to do.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client's own, of its HTTP library, of xet: they differ by version
        raise UserError(f"{repo_id}: {_reason(error)}") from None  # the cause may hold signed addresses


def _reason(error: Exception) -> str:
    chain = list(_causes(error))
    if any(isinstance(cause, LocalTokenNotFoundError) for cause in chain):
        return f"there is no token for the Hub; {LOG_IN}."
    if constants.HF_HUB_OFFLINE or any(isinstance(cause, OfflineModeIsEnabled) for cause in chain):
        return "the Hub is switched off (HF_HUB_OFFLINE); unset it to push."
    answered = next((cause for cause in chain if isinstance(cause, HfHubHTTPError)), None)
    if answered is None:
        return f"{constants.ENDPOINT} cannot be reached, or hung up ({short(chain[-1])})."
    status = answered.response.status_code
    reasons = {
        401: f"the Hub does not know this token; {LOG_IN}",
        403: f"the token may not write there; {LOG_IN}, or choose another name",
        404: "the Hub has no such repository, or hides it from this token",
    }
    trouble = "has trouble of its own" if status >= 500 else "refused"
    return f"{reasons.get(status, f'the Hub {trouble}: status {status}')} ({short(answered)})."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def short(error: BaseException) -> str:
    """What an error says, on one line, not too long, and without the token."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = TOKEN.sub("hf_***", text)
    with suppress(Exception):  # the token may come from a service that does not answer
        text = text.replace(get_token() or "hf_***", "hf_***")
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


@contextmanager
def progress_bars() -> Iterator[None]:
    """The client's bars of uploads on a terminal, none in a file; a training has switched them off."""
    were_off = are_progress_bars_disabled()
    enable_progress_bars() if sys.stderr.isatty() else disable_progress_bars()
    try:
        yield
    finally:
        disable_progress_bars() if were_off else enable_progress_bars()
