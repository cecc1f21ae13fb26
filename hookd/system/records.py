# SPDX-License-Identifier: LGPL-2.1-or-later
"""What hookd writes to the journal: every kind of record, by a name, an ID and in words.

`KINDS` is the one list: the journal catalog (`journalctl -x`) is made from it. A kind's `text` is
the template of MESSAGE over the record's fields and `detail`. Pure.
"""

from __future__ import annotations

import re

import msgspec

from hookd.model import Receipt, Result

# Priorities of syslog(3), by the names an administrator uses.
ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6

PRIORITY: dict[Result, int] = {
    Result.SUCCESS: INFO,
    Result.SKIPPED: NOTICE,
    Result.FAILED: ERR,
    Result.SIGNALLED: ERR,
    Result.TIMEOUT: WARNING,
    Result.LIMIT: WARNING,
    Result.SPAWN_FAILED: ERR,
    Result.CANCELLED: INFO,
    Result.INTERRUPTED: INFO,
}
"""The priority of the record that a run has ended, by its result."""


EVENT_VARIABLES = (
    "JOB_ID", "EVENT", "PHASE", "PROFILE", "PROFILE_NAME", "USER", "CLIENT_IP", "CLIENT_BUILD_NO",
    "FILE_COUNT", "BYTE_COUNT",
)  # fmt: skip
"""The variables of an event that its records carry, as HOOKD_ and the name, with the same value
that a hook finds in its environment."""


class RecordKind(msgspec.Struct, frozen=True):
    """One kind of record; `priority` is the usual one."""

    name: str
    message_id: str
    priority: int
    text: str
    explanation: str


KINDS: dict[str, RecordKind] = {}


def _kind(name: str, message_id: str, priority: int, text: str, explanation: str) -> RecordKind:
    KINDS[name] = RecordKind(name, message_id, priority, text, explanation)
    return KINDS[name]


_RUN = "hook {HOOKD_HOOK}, run {HOOKD_RUN_ID} at the {HOOKD_PHASE} of job {HOOKD_JOB_ID}"

RUN_STARTED = _kind(
    "run-started", "dbaa8e38aafd47ea976dda9a0ab2ec21", INFO, _RUN + ": started",
    "A hook has been started for an event of a backup job. OBJECT_PID is its main process.\n\n"
    "Its output and its end follow as records with the same HOOKD_RUN_ID. This record has the "
    "fields of the job; a line of output names only the job, the run, the hook and the stream.\n\n"
    "See all records of the job with: journalctl HOOKD_JOB_ID=@HOOKD_JOB_ID@",
)  # fmt: skip
RUN_ENDED = _kind(
    "run-ended", "09e3561a475a479db2e0a0b14bb8fd5f", INFO, _RUN + ": {detail}",
    "A run has ended. HOOKD_RESULT is success (exit status 0), skipped (75), failed (any other "
    "exit status), signalled, timeout (it exceeded limits.timeout), limit (HOOKD_LIMIT names the "
    "key of [limits] that it exceeded), cancelled, or spawn-failed (it could not be started; "
    "MESSAGE has the reason).\n\n"
    "See its output with: journalctl HOOKD_RUN_ID=@HOOKD_RUN_ID@\n"
    "Try it again with: hookctl replay @HOOKD_JOB_ID@",
)  # fmt: skip
RUN_LEFTOVERS = _kind(
    "run-leftovers", "88092f6ce7a54ce5a448424c3b68f473", WARNING, _RUN + ": {detail}",
    "Processes of a hook were alive after its main process had ended. With "
    'leftovers = "kill" they were killed, so their work may be incomplete. With '
    'leftovers = "warn" they go on until the runner stops. MESSAGE names them, without their '
    "arguments.\n\n"
    "A program that continues in the background, as mail does with some mail servers, needs "
    'leftovers = "warn" in the [run] table of the hook @HOOKD_HOOK@, or an option to wait until '
    "it is done. A hook that must leave a service behind should start it with the service manager "
    "(systemctl start, systemd-run).",
)  # fmt: skip
RUN_SURVIVORS = _kind(
    "run-survivors", "5bc21651d0ab4c60b73742c7983897e1", ERR, _RUN + ": {detail}",
    "Processes of a hook are alive after SIGKILL. They wait in the kernel, usually for a disk or "
    "a network file system that does not answer, or belong to a user whose processes the runner "
    "may not signal.\n\n"
    "MESSAGE names each process and what it waits for. It ends when the wait is over. hookd keeps "
    "trying to end it, less and less often.",
)  # fmt: skip
SERVER_STARTED = _kind(
    "server-started", "db41ad97c86c4e0bb2d7917de6c72ee7", INFO, "{detail}",
    "hookd is ready and answers on its socket.",
)  # fmt: skip
SERVER_STOPPED = _kind(
    "server-stopped", "52d5dc1b84b94323954909d4210345df", INFO, "{detail}",
    "hookd has stopped. Everything it has accepted is on disk, and continues at the next start.",
)  # fmt: skip
WORK_RESTORED = _kind(
    "work-restored", "14fec8c3f45f4a57a51efaec77ef7fe7", NOTICE, "{detail}",
    "hookd has found unfinished work of an earlier instance when it started. It has asked the "
    "runner which runs continue, which have ended, which are still to start, and which were cut "
    "short.",
)  # fmt: skip
JOB_STARTED = _kind(
    "job-started", "f74d33288e024ac4a226ccc1f9e39c64", INFO,
    "job {HOOKD_JOB_ID} started: profile {HOOKD_PROFILE}, user {HOOKD_USER}, "
    "client {HOOKD_CLIENT_IP}",
    "A backup server has reported the start of a job. The event is on disk.",
)  # fmt: skip
JOB_ENDED = _kind(
    "job-ended", "068b8198ed6b461794f5a7e7054f770b", INFO,
    "job {HOOKD_JOB_ID} ended: {detail}",
    "A backup server has reported the end of a job. The event is on disk.",
)  # fmt: skip
JOB_LOST = _kind(
    "job-lost", "a1d814c0b63d4a55838580a41dd34b08", WARNING,
    "job {HOOKD_JOB_ID} is lost: {detail}",
    "The end of a job was not reported: daemon.lost_after has passed, the backup server has "
    "restarted, or the connection that the job was tied to has ended. Its end hooks run with the "
    "outcome lost.\n\n"
    "Check the backup server: the backup itself may or may not be complete.",
)  # fmt: skip
JOB_REFUSED = _kind(
    "job-refused", "f0804c168b6b4fb5b99ba7ebe5ef312a", WARNING,
    "job {HOOKD_JOB_ID} was refused: {detail}",
    "A gate hook refused the start of a job, or failed with on_error = \"deny\". The backup "
    "server has received the reason.",
)  # fmt: skip
GATE_OVERDUE = _kind(
    "gate-overdue", "49d4f69400bb4ce18d52e037a6fac7fc", WARNING, _RUN + ": {detail}",
    "A gate has not decided in time. From the moment that the start of its job is on disk it has "
    "limits.timeout and kill_grace for each of its attempts, and the waits between them. It ran "
    "too long, or was not started; MESSAGE says what it waited for. on_error has decided, and the "
    "run is cancelled as soon as the runner can be told.",
)  # fmt: skip
RUN_INTERRUPTED = _kind(
    "run-interrupted", "96578a46ecab444885598c7e83f7b2ae", WARNING, _RUN + ": interrupted{detail}",
    "The runner has stopped while this hook was running, so the result is not known; or the "
    "database was replaced by an older copy, whose runs are not those of the runner. "
    'With on_crash = "rerun" the hook runs again as the next attempt.',
)  # fmt: skip
RUN_NOT_STARTED = _kind(
    "run-not-started", "c920fcc6320f4e4d963db2784596e865", NOTICE, _RUN + ": {detail}",
    "A run was skipped or cancelled before it started: by overlap or obsolete in the hook file, "
    "or by an operator.",
)  # fmt: skip
CONFIG_LOADED = _kind(
    "config-loaded", "28a1e73288774ccda733e092d8ff8b7e", INFO, "{detail}",
    "The configuration was read and is in use.",
)  # fmt: skip
CONFIG_REFUSED = _kind(
    "config-refused", "1936bc70df804dd88eff500d236d2833", ERR, "{detail}",
    "The configuration has an error. The previous one stays in use. If there is none, no hook "
    "starts until the error is corrected.\n\n"
    "See all errors with: hookctl check\nThen: systemctl reload hookd",
)  # fmt: skip
CONFIG_NOTE = _kind(
    "config-note", "8a087f81bc4347729fa56299339d83b2", NOTICE, "{detail}",
    "A note about the configuration or this machine, such as a file that was ignored, or a limit "
    "that is enforced less strictly here.",
)  # fmt: skip
PEER_DENIED = _kind(
    "peer-denied", "b2e982ada25c442486ba5c0de6422753", WARNING, "{detail}",
    "A caller without permission was refused. [access] in hookd.toml lists the permitted users.",
)  # fmt: skip
PEER_CLOSED = _kind(
    "peer-closed", "5e447f622eeb485ea626cbd01347d7d6", WARNING, "{detail}",
    "A connection was closed because a message on it was not Varlink, too large, or too slow.",
)  # fmt: skip
STORAGE_FAILED = _kind(
    "storage-failed", "de0f93cd7e074ab883e32127054ac4b0", ERR, "storage failed: {detail}",
    "The database cannot be written. Events are refused (StorageFailure), and running hooks "
    "continue. hookd tests once a second whether an event of full size can be written again. "
    "Small events may be accepted meanwhile.\n\n"
    "Check the disk of the state directory: it may be full, read-only or failing.",
)  # fmt: skip
STORAGE_LOST = _kind(
    "storage-lost", "c8d78a563bbc4915955505aa780c0b20", ERR, "events are lost: {detail}",
    "Acknowledged events are missing in the database: it was replaced by an older copy, or its "
    "file or the write-ahead log beside it was damaged or removed. No ID is given twice: new IDs "
    "are higher than all earlier ones.\n\n"
    "The journal has records of every job and run. Check the disk, and what restores files here.",
)  # fmt: skip
STORAGE_DAMAGED = _kind(
    "storage-damaged", "c78d8a0bfa8f4edfa8b9fa2155bd4557", ERR,
    "the database is damaged: {detail}",
    "SQLite has found damage in the database. Undamaged parts are still read and written.\n\n"
    "Stop hookd, and restore the database from a backup, or try the .recover command of "
    "sqlite3.",
)  # fmt: skip
STORAGE_CREATED = _kind(
    "storage-created", "4cc384ec202042fd93cf018d9ee92ffe", NOTICE,
    "a new database was made: {detail}",
    "The state directory had no database, so hookd has created one: no job is known, and job IDs "
    "start at 1.\n\n"
    "If hookd has run here before, its state directory was lost or replaced: stop hookd, restore "
    "the directory, and start hookd again.",
)  # fmt: skip
STORAGE_RECOVERED = _kind(
    "storage-recovered", "0c008a21ae63482798fc1123a5f37924", NOTICE, "storage works again{detail}",
    "The database can be written again. Events are accepted.",
)  # fmt: skip
RUNNER_CONNECTED = _kind(
    "runner-connected", "737c2bba568c44089ce566ebe9530018", INFO, "{detail}",
    "The server is connected to the runner, and hooks start.",
)  # fmt: skip
RUNNER_LOST = _kind(
    "runner-lost", "a399ca0a795143d989e0324fdcde7008", WARNING, "{detail}",
    "The link between the server and the runner has ended. Events are accepted and wait. No hook "
    "starts until the runner is back.\n\n"
    "See: systemctl status hookd-runner",
)  # fmt: skip
RUNNER_STARTED = _kind(
    "runner-started", "200647db837b4038ba1cbe88558d265d", INFO, "{detail}",
    "hookd-runner, which starts and supervises hooks, is ready.",
)  # fmt: skip
RUNNER_STOPPED = _kind(
    "runner-stopped", "510651f5ee154239a78e6d39b2b4fe6e", INFO, "{detail}",
    "hookd-runner has stopped. None of its hooks is running.",
)  # fmt: skip
HOOK_PARKED = _kind(
    "hook-parked", "3b500b93c6c34c7ea827b391242abdfa", WARNING,
    "hook {HOOKD_HOOK} is parked: {detail}",
    "A hook has failed retry.quarantine_after times in a row. Its runs are skipped from now "
    "on.\n\n"
    "Repair it, then run: hookctl resume @HOOKD_HOOK@",
)  # fmt: skip
HOOK_RESUMED = _kind(
    "hook-resumed", "b00781935e9f49008202bd0001a9d07f", NOTICE,
    "hook {HOOKD_HOOK} runs again: {detail}",
    "A parked hook was resumed by an operator or by a change of its file.",
)  # fmt: skip
HOOK_UNUSABLE = _kind(
    "hook-unusable", "c3706c2a7bc945768f0140dd44bb2163", ERR,
    "hook {HOOKD_HOOK} cannot be run: {detail}",
    "A program, directory, user or mount that the hook needs is missing, does not answer, or "
    "could be changed by others. Its runs end as spawn-failed; other hooks are not affected. The "
    "hook is checked again before each run, so no reload is needed after a repair.\n\n"
    "See the present state with: hookctl hooks",
)  # fmt: skip
HOOK_USABLE = _kind(
    "hook-usable", "d3fc1a1182f74fd88814034ac31fc1df", NOTICE,
    "hook {HOOKD_HOOK} can be run again{detail}",
    "Everything that the hook needs is there again.",
)  # fmt: skip
RECORDS_LOST = _kind(
    "records-lost", "58100cf4f237410a9f702a0b7edf1215", WARNING, "{detail}",
    "The journal has not accepted records for so long that some were dropped. The results are "
    "still in the database: hookctl jobs.",
)  # fmt: skip

FAULT = _kind(
    "fault", "014143844483459d8e1991823d09a263", ERR, "{detail}",
    "An error in the code of hookd. It has ended the operation that HOOKD_OPERATION names, with "
    "an answer (InternalError) or a result that says so. Everything else continues. HOOKD_PLACE "
    "is where it was raised, and HOOKD_TRACEBACK has the traceback. hookctl status counts "
    "these.\n\n"
    "Please report it, with the record: journalctl -o verbose MESSAGE_ID=@MESSAGE_ID@",
)  # fmt: skip

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f"  # control characters; a tab may stay
    "\u2028\u2029"  # line ends
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the order of a line round
    "\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # what cannot be seen
    "\U000e0000-\U000e007f\ud800-\udfff]"  # tags; halves of a pair
)
"""What a terminal takes for something else than text, or nobody can see.

Two that cannot be seen may stay, U+200C and U+200D: they are spelling in Persian, Hindi and emoji.
"""


def printable(text: str) -> str:
    """Return the text on one line; what is `UNPRINTABLE` as \\xNN, \\uNNNN or \\UNNNNNNNN.

    A byte that was not UTF-8, which Python has as half of a pair, is shown as that byte.
    """
    return text if text.isprintable() else UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode(), PEP 383
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable_bytes(data: bytes) -> str:
    """Return what a program printed as text on one line: what is not UTF-8 as \\xNN too."""
    return printable(data.decode("utf-8", "backslashreplace"))


def receipt_fields(receipt: Receipt) -> dict[str, str | int | None]:
    """Return the journal's fields of a run that has ended; None where one does not apply."""
    return {
        "HOOKD_RESULT": receipt.result.value,
        "HOOKD_EXIT_STATUS": receipt.exit_status,
        "HOOKD_SIGNAL": receipt.signal,
        "HOOKD_LIMIT": receipt.limit,
        "HOOKD_DURATION_USEC": receipt.duration_usec,
        "HOOKD_CPU_USEC": receipt.cpu_usec,
        "HOOKD_MEMORY_PEAK": receipt.memory_peak,
        "HOOKD_OUTPUT_BYTES": receipt.output_bytes,
        "HOOKD_OUTPUT_DROPPED": receipt.output_dropped,
        "HOOKD_LEFTOVERS": receipt.leftovers,
        "HOOKD_SURVIVORS": receipt.survivors,
    }


def receipt_words(receipt: Receipt) -> str:
    """Return in words how a run ended: `failed with exit status 3 after 1.204 s`."""
    words = {
        Result.SUCCESS: "succeeded",
        Result.SKIPPED: "skipped itself (exit status 75)",
        Result.FAILED: f"failed with exit status {receipt.exit_status}",
        Result.SIGNALLED: f"killed by {receipt.signal}",
        Result.TIMEOUT: "timed out",
        Result.LIMIT: f"ended by its limit on {receipt.limit}",
        Result.SPAWN_FAILED: "could not be started",
        Result.CANCELLED: "cancelled",
        Result.INTERRUPTED: "interrupted",
    }[receipt.result]
    if receipt.started_usec is not None:
        words += f" after {receipt.duration_usec / 1e6:.3f} s"
    if receipt.reason:
        words += f": {receipt.reason}"
    if receipt.leftovers or receipt.survivors:
        words += f" ({receipt.leftovers} left over, {receipt.survivors} survived)"
    return words
