"""Passes calls to moto: the services that moto answers.

EC2, IAM, Auto Scaling and STS go directly to their response classes, without Flask and moto's service dispatch. Other
services (SSM, KMS, S3, ...) go through moto's own application.
"""

from __future__ import annotations

import io
import logging
from typing import Any
from urllib.parse import unquote

from moto.core.request import Request as MotoRequest

from . import autoscaling, kms, logs, quotas, ssm
from .call import Call
from .ec2.responses import Ec2Response
from .errors import AwsError
from .http import Reply, Request
from .iam import IamResponse
from .sts import StsResponse

log = logging.getLogger(__name__)


class ServerRequest(MotoRequest):
    from_wsgi_server = True


class MotoBridge:
    def __init__(self) -> None:
        self.direct: dict[str, Any] = {
            "ec2": Ec2Response,
            "iam": IamResponse,
            "sts": StsResponse,
            "autoscaling": autoscaling.Response,
        }
        self._application: Any = None

    def answer(self, call: Call) -> Reply:
        environ = make_environ(call.request, call.account)
        environ["keelson.call"] = call
        response = self.direct.get(call.service)
        try:
            if call.service == "ssm":
                reply = ssm.answer(call)
                if reply is not None:
                    return reply
            if call.service == "servicequotas":
                return quotas.answer(call)
            if call.service == "logs":
                reply = logs.answer(call)
                if reply is not None:
                    return reply
            if call.service == "kms":
                kms.set_defaults()
            if response is None:
                return self.through_application(environ)
            status, headers, body = response.dispatch(ServerRequest(environ))
        except AwsError:
            raise
        except NotImplementedError as error:
            raise AwsError("InvalidAction", f"The emulator does not implement {call.service} {call.action}: {error}", 501) from error
        except Exception as error:
            log.exception("%s %s failed", call.service, call.action)
            code = "InternalError" if call.service == "ec2" else "InternalFailure"
            raise AwsError(code, f"The emulator failed on {call.action}: {error!r}", 500) from error
        data = body.encode() if isinstance(body, str) else bytes(body or b"")
        reply_headers = {k: str(v) for k, v in headers.items() if k.lower() not in ("content-length", "status", "server", "date")}
        reply_headers.setdefault("Content-Type", "text/xml")
        return Reply(int(status), data, reply_headers)

    def through_application(self, environ: dict[str, Any]) -> Reply:
        if self._application is None:
            from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

            self._application = DomainDispatcherApplication(create_backend_app)
        answer: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            answer.update(status=int(status.split(" ")[0]), headers=headers)

        chunks = self._application(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        headers = {name: value for name, value in answer["headers"] if name.lower() not in ("content-length", "connection")}
        return Reply(answer["status"], body, headers)


def make_environ(request: Request, account: str) -> dict[str, Any]:
    """A WSGI environment. A header that moto checks first carries the account."""
    headers = request.headers
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(request.path),
        "QUERY_STRING": request.query,
        "RAW_URI": request.target,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.peer,
        "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": headers.get("content-type", ""),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "HTTP_X_MOTO_ACCOUNT_ID": account,
    }
    for name, value in headers.items():
        if name not in ("content-type", "content-length", "transfer-encoding", "x-moto-account-id", "user-agent"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ
