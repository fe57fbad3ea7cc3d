"""Serves the repositories of a GitServer over SSH."""

import asyncio
import shlex
import threading
from pathlib import Path

import asyncssh

from .processes import free_port


class SshServer:
    """Serves the repositories under `served`, read-only, to the holder of one key.

    `identity` and `known_hosts`: the client's values, as in a Flux Secret.
    """

    def __init__(self, served: Path):
        self._served = served
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.identity = client_key.export_private_key().decode()
        self._authorized = asyncssh.import_authorized_keys(client_key.export_public_key().decode())
        self._port = free_port()
        self.known_hosts = self.known_hosts_line(self._host_key)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True).start()
        self._listener = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def url(self, name: str) -> str:
        return f"ssh://git@127.0.0.1:{self._port}/{name}.git"

    def known_hosts_line(self, key: asyncssh.SSHKey) -> str:
        """The known_hosts line for this address and that key."""
        return f"[127.0.0.1]:{self._port} {key.export_public_key().decode()}"

    def wrong_known_hosts(self) -> str:
        return self.known_hosts_line(asyncssh.generate_private_key("ssh-ed25519"))

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            self._port,
            server_host_keys=[self._host_key],
            authorized_client_keys=self._authorized,
            process_factory=self._run,
            encoding=None,
            reuse_address=True,
        )

    async def _close(self) -> None:
        self._listener.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, process: asyncssh.SSHServerProcess) -> None:
        program, path = shlex.split(process.command or "none none")[:2]
        bare = (self._served / path.lstrip("/")).resolve()
        if program != "git-upload-pack" or self._served.resolve() not in bare.parents:
            process.stderr.write(b"only repositories of this server, read-only\n")
            process.exit(1)
            return
        reader = await asyncio.create_subprocess_exec(
            "git",
            "upload-pack",
            str(bare),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await process.redirect(stdin=reader.stdin, stdout=reader.stdout)
        await process.stdout.drain()
        process.exit(await reader.wait())
