"""Records answers of AWS by operation, from boto3's clients (`attach`) and from the proxy in front of the operator (`record`).

Nothing is kept of a request but the names of its parameters, and of an answer only what `scrub` leaves. I/O: `write` the fixtures.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import scrub
from .fixtures import Fixture, Reply, merge, write
from .shapes import Members
from .wire import read_answer, service_model

# Headers by which SDKs decide; of the others none is stored.
HEADERS = ("content-type", "x-amzn-requestid", "x-amzn-errortype")


class Recorder:
    def __init__(self, source: str, date: str, confidential: Callable[[], Iterable[str]] = tuple) -> None:
        """source: `aws` or `emulator`. confidential: values that must not be in any output, besides what `scrub` knows."""
        self.source, self.date = source, date
        self._confidential = confidential
        self._lock = threading.Lock()
        self._members: dict[tuple[str, str], dict[tuple[int, str], Members]] = {}
        self._replies: dict[tuple[str, str], dict[tuple[int, str], Reply]] = {}
        # Answers that could not be read at all.
        self.unreadable: list[str] = []

    def record(
        self, service: str, operation: str, parameters: Iterable[str], named: Iterable[str], status: int, headers: dict[str, str], body: bytes
    ) -> None:
        """An answer. parameters: names of the request's; named: texts of the request, which an error may repeat. Header names are in lower case."""
        model = service_model(service)
        if model is None or operation not in model.operation_names:
            return
        try:
            answer = read_answer(model.operation_model(operation), status, headers, body)
        except ValueError as error:
            with self._lock:
                self.unreadable.append(f"{service} {operation}: status {status}: {error}")
            return
        where = f"{service} {operation}" + (f" {answer.error}" if answer.error else "")
        message = scrub.scrub_message(answer.message, named)
        kept = {name: headers[name].split(";")[0] if name == "content-type" else "<present>" for name in HEADERS if name in headers}
        with self._lock:
            members = self._members.setdefault((service, operation), {}).setdefault((status, answer.error), Members())
            example = members.add(answer, where)
            replies = self._replies.setdefault((service, operation), {})
            reply = replies.setdefault((status, answer.error), Reply(status, answer.error, kept, message, example))
            # The fullest answer shows most.
            if len(str(example)) > len(str(reply.example)):
                reply.example = example
            reply.parameters |= set(parameters)
            # A header counts as sent only if every answer has it.
            reply.headers = {name: value for name, value in reply.headers.items() if name in kept}

    def attach(self, client: Any) -> None:
        """Records every answer that this boto3 client receives."""
        service = client.meta.service_model.service_name

        def remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
            context["conformance"] = params

        def received(http_response: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
            sent = context.get("conformance") or {}
            headers = {name.lower(): value for name, value in http_response.headers.items()}
            named = list(scrub.texts_of(sent))
            self.record(service, model.name, sent, named, http_response.status_code, headers, http_response.content)

        client.meta.events.register("provide-client-params", remember)
        client.meta.events.register("after-call", received)

    def problems(self) -> list[str]:
        """Where answers contradict AWS's model."""
        with self._lock:
            found = {problem for kinds in self._members.values() for members in kinds.values() for problem in members.problems}
            return sorted(found) + sorted(set(self.unreadable))

    def fixtures(self) -> list[Fixture]:
        found = []
        with self._lock:
            for (service, operation), replies in sorted(self._replies.items()):
                kinds = self._members[(service, operation)]
                for key, reply in replies.items():
                    reply.members, reply.sometimes = dict(sorted(kinds[key].types.items())), kinds[key].sometimes()
                ordered = [replies[key] for key in sorted(replies)]
                found.append(Fixture(service, operation, self.source, self.date, ordered))
        return found

    def write(self, folder: Path) -> list[Path]:
        """Writes each operation as FOLDER/SERVICE/OPERATION.json, into what is there already. Raises scrub.NotScrubbed and writes nothing."""
        made = [(fixture, merge(folder, fixture)) for fixture in self.fixtures()]
        for _, merged in made:
            if merged is not None:
                scrub.require_clean(merged.text(), self._confidential())
        return [write(folder, merged) for _, merged in made if merged is not None]
