"""May we push there? Asked before hours of training; and what the Hub says, in words for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from detr_hf.errors import UserError
from detr_hf.hub.target import Target

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
LONGEST_REASON = 300
TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")


def check_access(target: Target, kind: str = "model") -> None:
    """Make sure that a push can work; makes the repository when it is not there yet.

    Args:
        target: where to.
        kind: of repository, "model" or "dataset".

    Raises:
        UserError: there is no token or it may not write there, the Hub is out of reach or does not know the
            license, the tag exists, or the repository is public where it was to be private.
    """
    api = HfApi()
    with told_of_the_hub(target.repo_id):
        _refuse_token_for_reading(api)
        _refuse_unknown_license(target.license)
        api.create_repo(target.repo_id, repo_type=kind, private=target.private, exist_ok=True)
        _refuse_foreign_repo(api, target.repo_id, kind)
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


def _refuse_token_for_reading(api: HfApi) -> None:
    """Tokens with permissions of their own are tried on the repository later."""
    role = (api.whoami().get("auth") or {}).get("accessToken", {}).get("role")
    if role == "read":
        raise UserError(f"the Hub: the token may only read; {LOG_IN}.")


def _refuse_unknown_license(license: str) -> None:
    try:
        ModelCard(f"---\nlicense: {license}\n---\n").validate(repo_type="model")
    except ValueError as error:
        raise UserError(
            f"license: the Hub does not take {license!r} ({short(error)}); write one as it spells them, such "
            "as apache-2.0 or cc-by-4.0, or `other`."
        ) from error


def _refuse_foreign_repo(api: HfApi, repo_id: str, kind: str) -> None:
    """A question about a file to come needs the right to write, and changes nothing."""
    question = CommitOperationAdd("README.md", b"-")
    api.preupload_lfs_files(repo_id, [question], repo_type=kind)


@contextmanager
def told_of_the_hub(repo_id: str) -> Iterator[None]:
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
    if answered is not None:
        return _reason_of_status(answered.response.status_code, short(answered))
    return f"{constants.ENDPOINT} cannot be reached, or hung up ({short(chain[-1])})."


def _reason_of_status(status: int, said: str) -> str:
    match status:
        case 401:
            return f"the Hub does not know this token; {LOG_IN} ({said})."
        case 403:
            return f"the token may not write there; {LOG_IN}, or choose another name ({said})."
        case 404:
            return f"the Hub has no such repository, or hides it from this token ({said})."
        case _ if status >= 500:
            return f"the Hub has trouble of its own: status {status} ({said})."
    return f"the Hub refused: status {status} ({said})."


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
    """Bars for uploads; a run has switched all bars of the client off while it trains."""
    were_off = are_progress_bars_disabled()
    enable_progress_bars()
    try:
        yield
    finally:
        if were_off:
            disable_progress_bars()
