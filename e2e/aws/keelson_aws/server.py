"""The emulator: dispatches each HTTP request to its service, with rate limits, fault injection and the call log."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import os
import re
import socket
import sys

from moto.core.base_backend import BackendDict
from moto.core.utils import get_service_model

from . import authorization, autoscaling, event_rules, iam, queues, quotas, regions, simulation, tagging
from .accounts import Accounts, Caller
from .call import Call, read_call
from .calllog import CallLog
from .catalog import CATALOG
from .control import Control
from .ec2 import patches
from .ec2.base import Guard
from .eks import log_groups
from .eks.service import Eks
from .errors import AwsError, error_reply, rename_message
from .events import event_of
from .faults import FaultEffects, Faults, send_signal
from .http import Reply, Request, serve
from .moto_bridge import MotoBridge
from .rates import Rates
from .settings import Settings
from .stale import History
from .sts import StsResponse
from .timeline import Timeline
from .tokenreview import review
from .workload import SYNC_SECONDS, WorkloadClusters
from .zones import PLACES

log = logging.getLogger(__name__)
TICK_SECONDS = 0.02
XML_CODE = re.compile(rb"<Code>([^<]+)</Code>")


@functools.cache
def load() -> None:
    """Changes moto, and loads what would make the first call slower: once in a process, and in those it forks."""
    patches.apply()
    iam.apply()
    get_service_model("ec2")


class Emulator:
    def __init__(self, settings: Settings) -> None:
        load()
        self.settings = settings
        self.timeline = Timeline()
        self.accounts = Accounts()
        StsResponse.accounts = self.accounts
        Guard.timeline, Guard.settings = self.timeline, settings
        self.call_log = CallLog(settings.call_log)
        self.faults = Faults()
        self.rates = Rates()
        self.history = History(self.timeline)
        self.eks = Eks(settings, self.timeline)
        self.moto = MotoBridge()
        self.control = Control(self)
        self.apply_settings()

    def apply_settings(self) -> None:
        """Applies the settings that are not read on each use."""
        self.call_log.open(self.settings.call_log)
        StsResponse.shortest_session = int(self.settings.sts_min_session_seconds)
        StsResponse.longest_session = self.settings.sts_max_session_seconds

    def reset(self) -> None:
        """Empties the cloud and removes faults and rate limits. Keeps the settings."""
        self.timeline.clear()
        self.eks.reset()
        self.accounts.reset()
        BackendDict.reset()
        self.faults.remove()
        self.rates.set([])
        quotas.clear()
        simulation.clear()
        CATALOG.clear()
        PLACES.clear()
        regions.NOT_OPTED_IN.clear()
        self.call_log.clear()
        self.history.clear()

    def handle(self, request: Request) -> Reply:
        self.timeline.run_due()
        try:
            if request.path.startswith("/_keelson/"):
                return self.control.answer(request)
            if request.path == "/tokenreview" or request.path.startswith("/tokenreview/"):
                return review(self, request)
            return self.handle_call(request)
        except Exception as error:
            log.exception("%s %s failed", request.method, request.target)
            return Reply.json(500, {"message": f"The emulator failed: {error!r}"})

    def handle_call(self, request: Request) -> Reply:
        call = read_call(request)
        if call is None:
            return Reply.json(403, {"message": "Missing Authentication Token"}, **{"x-amzn-ErrorType": "MissingAuthenticationTokenException"})
        effects: FaultEffects | None = None
        code = ""
        try:
            caller = None
            if call.access_key:
                caller = self.accounts.caller(call.access_key, request.headers.get("x-amz-security-token"), call.service)
                call.account, call.caller_arn = caller.account, caller.arn
                self.accounts.learn_secret(call.access_key, request)
                regions.check(caller.account, call.region, call.service)
            if call.service == "eks":
                self.eks.read(call)
            limited = self.rates.check(call)
            if limited:
                raise limited
            effects = self.faults.effects_of(call)
            if effects:
                if effects.hang is not None:
                    self.call_log.write(call, 0, "", "hang")
                    return Reply(200, b"", delay=effects.hang, drop=True)
                if effects.error:
                    raise effects.error
                call.outcome = effects.outcome
            if call.write and authorization.is_by_keelson(call):
                call.checks = authorization.checks_of(call, self.eks)
            reply = self.apply(call, caller, effects.stale if effects and not call.write else 0.0)
        except AwsError as error:
            reply, code = error_reply(call.service, error), error.code
        if reply.status >= 400 and not code:
            found = XML_CODE.search(reply.body)
            code = found[1].decode() if found else reply.headers.get("x-amzn-ErrorType", "")
        self.call_log.write(call, reply.status, code, ",".join(effects.names) if effects else "", reply.request_id())
        if effects:
            apply_effects(reply, effects)
        return reply

    def apply(self, call: Call, caller: Caller | None, stale: float) -> Reply:
        if call.service == "eks":
            assert caller is not None
            region = self.history.region((call.account, call.region), stale) if stale else None
            reply = self.eks.answer(call, caller, region)
        elif call.service == "tagging":
            reply = tagging.answer(call, self.eks)
        elif call.action == "ReceiveMessage":
            reply = queues.receive(call, self.moto.answer, self.timeline)
        elif call.service == "sqs" and call.action == "CreateQueue":
            reply = queues.create(call, self.moto.answer, self.timeline, self.settings.queue_name_seconds)
        elif call.service == "sqs" and call.action == "DeleteQueue":
            reply = queues.delete(call, self.moto.answer, self.timeline)
        else:
            kept = None
            if call.service == "events":
                event_rules.check(call)
                kept = event_rules.tags_to_keep(call)
            if call.service == "autoscaling":
                reply = self.answer_autoscaling(call, stale)
            else:
                reply = self.moto.answer(call)
            if kept is not None and reply.status < 300:
                event_rules.put_back(call, kept)
            if reply.status >= 400 and "json" in reply.headers.get("Content-Type", ""):
                rename_message(call.service, reply)
            if call.service == "logs" and call.action == "DeleteLogGroup" and reply.status < 300:
                log_groups.recreate(self.eks.regions, call, self.timeline, self.settings)
            if call.action == "SendMessage" and caller is not None and reply.status < 300:
                queues.set_sender(call, caller)
            if stale:
                reply = self.history.filter(call, reply, stale)
        if call.write and reply.status < 300:
            self.history.record_creations(call, reply)
            self.record_history()
            self.send_event(call, reply)
        return reply

    def answer_autoscaling(self, call: Call, stale: float) -> Reply:
        autoscaling.check(call)
        autoscaling.remember(call, self.timeline)
        if not stale:
            return self.moto.answer(call)
        with autoscaling.as_of(call, self.timeline.now() - stale):
            return self.moto.answer(call)

    def send_event(self, call: Call, reply: Reply) -> None:
        """Sends the CloudTrail event of a write to the event queue, as EventBridge does."""
        event = event_of(call, reply) if self.settings.event_queue_url else None
        if event:
            try:
                queues.send(self.settings.event_queue_url, json.dumps(event))
            except queues.QueueError as error:
                log.warning("cannot send event: %s", error)

    def record_history(self) -> None:
        if self.faults.needs_history:
            self.history.record_states(self.eks.regions)
        elif self.history.recording:
            self.history.stop_recording()

    async def run(self, host: str, port: int, client: socket.socket | None = None) -> None:
        """client: a connection; the emulator exits when its other end closes it."""
        if client:
            asyncio.get_running_loop().add_reader(client, os._exit, 1)
        # Rarer garbage collection: the state is small and long-lived, and a collection would delay bursts of calls.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        server = await serve(self.handle, host, port)
        asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)
        if self.settings.workload_kubeconfig or self.settings.workload_each:
            self.workloads = WorkloadClusters(self.settings.workload_kubeconfig, self.settings)
            self.sync_workloads()
        bound = server.sockets[0].getsockname()[1]
        print(f"keelson-aws ready on http://{host}:{bound}", flush=True)
        async with server:
            await server.serve_forever()

    def tick(self) -> None:
        self.timeline.run_due()
        self.record_history()
        asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)

    def sync_workloads(self) -> None:
        self.workloads.sync(self.eks)
        asyncio.get_running_loop().call_later(SYNC_SECONDS, self.sync_workloads)


def apply_effects(reply: Reply, effects: FaultEffects) -> None:
    """Applies the effects of faults to the reply."""
    reply.delay = effects.delay
    reply.drop = effects.drop
    before, after = effects.kill_before, effects.kill_after
    if before:
        reply.before_send = lambda: send_signal(before)
    if after:
        reply.after_send = lambda: send_signal(after)


def main(arguments: list[str] | None = None, client: socket.socket | None = None) -> None:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m keelson_aws", description="A local AWS with EKS, for Keelson's tests.")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "4566")), help="port on 127.0.0.1 (default: PORT or 4566)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1; a container needs 0.0.0.0)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    emulator = Emulator(Settings.from_environment())
    try:
        asyncio.run(emulator.run(options.host, options.port, client))
    except KeyboardInterrupt:
        sys.exit(0)
