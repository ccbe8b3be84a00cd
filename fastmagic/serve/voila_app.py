"""Voila made fit for strangers: one notebook and nothing beside it, so many visitors and no more, kernels that end."""

from __future__ import annotations

import html
import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import tornado.web
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.auth.login import LoginFormHandler
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.utils import url_path_join
from traitlets import Integer
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.voila_identity_provider import VoilaLoginHandler

PICTURES = r"(?!.*(^|/)\.).*\.(png|jpe?g|gif|svg|webp)"  # beside a notebook, nothing hidden
MANAGERS = [f"@voila-dashboards/widgets-manager{version}" for version in (7, 8)]
UNSEEN, LEFT_ALONE, AWAY = 10, 300, 600  # seconds
BUSY = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="10"><title>Busy</title>
<body style="font: 18px/1.5 system-ui, sans-serif; max-width: 32em; margin: 20vh auto; padding: 0 1em; color-scheme: light dark">
<h1 style="font-size: 1.4em">All places are taken</h1>
<p>%s is used by %s just now, and more do not fit. This page looks again by itself every ten seconds.</p>"""


LOGIN = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<body style="font: 18px/1.5 system-ui, sans-serif; max-width: 24em; margin: 20vh auto; padding: 0 1em; color-scheme: light dark">
<h1 style="font-size: 1.4em">{title}</h1>
<form method="post"><p><label>Whoever gave you this address has a token for it.<br>
<input name="password" type="password" aria-label="Token" autofocus required style="font: inherit; width: 100%; box-sizing: border-box"></label></p>
<p role="alert">{error}</p><p><button style="font: inherit; padding: 0.2em 1.2em">Open</button></p>{xsrf}</form>"""


class Kernels(AsyncMappingKernelManager):
    """Kernels of visitors: so many at most; one that nobody looks at any more gives its place to the next."""

    visitors = Integer(50, config=True)

    def pooled(self) -> set[str]:
        """Return the kernels that were begun ahead and wait for a visitor."""
        waiting = [task for pool in getattr(self, "_pools", {}).values() for task in pool if task.done()]
        return {task.result()["kernel_id"] for task in waiting if not task.cancelled() and task.exception() is None}

    def __init__(self, **options: Any) -> None:
        self._coming = 0  # pages whose kernels are being begun, and not counted by anybody yet
        self._leaving: set[str] = set()
        super().__init__(**options)

    async def make_room(self) -> bool:
        """Return whether another visitor has a place, and keep it until `came`; an abandoned kernel is ended for that."""
        pooled = self.pooled()
        used = [name for name in self.list_kernel_ids() if name not in pooled]
        if len(used) + self._coming < self.visitors:
            self._coming += 1
            return True
        now = datetime.now(timezone.utc)

        def quiet(name: str) -> timedelta:
            # Put there by Jupyter Server, a moment after the kernel is listed.
            last: datetime = getattr(self.get_kernel(name), "last_activity", now)
            return now - last

        for name in sorted({*used} - self._leaving, key=quiet, reverse=True):
            seen = self._kernel_connections.get(name, 0) > 0
            if quiet(name) > timedelta(seconds=LEFT_ALONE if seen else UNSEEN):
                self._coming += 1
                self._leaving.add(name)
                try:
                    await self.shutdown_kernel(name, now=True)
                except BaseException:
                    self._coming -= 1
                    raise
                finally:
                    self._leaving.discard(name)
                return True
        return False

    def came(self) -> None:
        """Say that a page which `make_room` let in has its kernel, or will have none."""
        self._coming -= 1


class ThisPython(KernelSpecManager):
    """The Python that runs the app, whatever kernels the machine has registered."""

    def get_all_specs(self) -> dict[str, Any]:
        return {"python3": {"resource_dir": "", "spec": self.get_kernel_spec("python3").to_dict()}}

    def find_kernel_specs(self) -> dict[str, str]:
        return {"python3": ""}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=[*command, "--log-level=ERROR"], display_name="Python 3", language="python")


class Page(TornadoVoilaHandler):
    """The app's page: its own address alone, and one kernel for each."""

    @tornado.web.authenticated
    async def get(self, path: str | None = None) -> None:
        if path:
            raise tornado.web.HTTPError(404)
        if not await self.kernel_manager.make_room():
            self.set_status(503)
            self.set_header("Retry-After", "10")
            many = self.kernel_manager.visitors
            self.finish(BUSY % (html.escape(self.settings["app_title"]), f"{many} people" if many > 1 else "somebody"))
            return
        try:
            self.xsrf_token  # noqa: B018  sets the cookie without which the closing page may not end its kernel
            await super().get(path)
        finally:
            self.kernel_manager.came()


class Login(LoginFormHandler):
    """Asks for the token, and for nothing else: Jupyter's own form also sets passwords."""

    def _render(self, message: dict[str, str] | None = None) -> None:
        error = "That is not the token." if message else ""
        title = html.escape(self.settings["app_title"])
        self.finish(LOGIN.format(title=title, error=error, xsrf=self.xsrf_form_html()))


class Health(tornado.web.RequestHandler):
    """Tells whoever watches over the machine that the app lives, without a kernel."""

    def get(self) -> None:
        kernels = self.settings["kernel_manager"]
        pooled = kernels.pooled()
        used = sum(name not in pooled for name in kernels.list_kernel_ids())
        self.finish(json.dumps({"visitors": used, "places": kernels.visitors, "ready": len(pooled)}))


class Channels(VoilaKernelWebsocketHandler):
    """The websocket to a kernel, in the form that every browser speaks, looked at before it is taken apart.

    In the older form, Voila 0.5 takes a buffer's length for a number of parts and counts to it; in this one Jupyter Server
    2 counts to whatever number comes first. Either way one message would stop the server for all.
    """

    form = "v1.kernel.websocket.jupyter.org"

    async def get(self, kernel_id: str) -> None:
        if self.form not in self.request.headers.get("Sec-WebSocket-Protocol", ""):
            raise tornado.web.HTTPError(400)
        await super().get(kernel_id)

    async def open(self, kernel_id: str) -> None:
        self.set_nodelay(True)  # else the kernel waits 40 ms for the word that its message has come
        await super().open(kernel_id)

    def on_message(self, ws_message: Any) -> None:
        parts = int.from_bytes(ws_message[:8], "little") if isinstance(ws_message, bytes) else 0
        if 6 <= parts <= 100 and 8 * (parts + 1) <= len(ws_message):
            super().on_message(ws_message)
        else:
            self.close(1002)


class App(Voila):
    """Voila with one notebook; settings of other Voilas on this machine are not its own.

    `when_listening` is called when the first visitor may come.
    """

    when_listening: Callable[[], object] = staticmethod(lambda: None)

    def load_config_file(self, *_: Any, **__: Any) -> None:
        """Load none."""

    def init_settings(self) -> dict[str, Any]:
        self.log.addFilter(lambda record: "is not trusted" not in record.getMessage())  # its outputs are not shown
        # Tornado takes Jupyter Server's milliseconds for seconds, and warns of the one number that is right: a page that
        # does not answer within 90 seconds has gone
        general = logging.getLogger("tornado.general")
        general.addFilter(lambda record: "websocket_ping_timeout" not in record.getMessage())
        return {**super().init_settings(), "app_title": self.config.FastmagicApp.title}

    def init_handlers(self) -> list[Any]:
        own = {VoilaKernelWebsocketHandler: Channels, TornadoVoilaHandler: Page, VoilaLoginHandler: Login}
        handlers = []
        for address, made, *more in super().init_handlers():
            if address.startswith(("/login", "/logout")):  # which Voila forgets below a path
                address = url_path_join(self.server_url, address)
            handlers.append((address, own.get(made, made), *more))
        return [(url_path_join(self.server_url, "/health"), Health), *handlers]

    def listen(self) -> None:
        listens = self.app.listen

        def listening(*where: Any) -> Any:
            # Files come in parts, by the websocket; Tornado would keep 100 MB of whatever is posted
            made = listens(*where, max_body_size=1_000_000)
            self.when_listening()
            return made

        self.app.listen = listening
        super().listen()


def configured(
    *, title: str, host: str, port: int, base_url: str, token: str, visitors: int, preheat: int, theme: str, files: bool
) -> Config:
    """Return the settings of an app; `files` are the pictures beside its notebook."""
    return Config(
        FastmagicApp={"title": title},
        Voila={
            **{
                "ip": host,
                "port": port,
                "port_retries": 0,
                "base_url": base_url,
                "token": token,
                "open_browser": False,
            },
            "log_level": 30,
            "tornado_settings": {
                "headers": {
                    "X-Content-Type-Options": "nosniff",
                    "Referrer-Policy": "same-origin",
                    "Content-Security-Policy": "frame-ancestors 'self'" if token else "frame-ancestors *",
                },
            },
        },
        PasswordIdentityProvider={"allow_password_change": False},
        VoilaConfiguration={
            "template": "fastmagic_app",
            "theme": theme,
            "allow_template_override": "NO",
            "allow_theme_override": "NO",
            "strip_sources": True,
            "show_tracebacks": False,
            "file_allowlist": [PICTURES] if files else [],
            # A notebook may show widgets of other packages; a panel needs these, and the page is there sooner
            "extension_allowlist": [] if files else ["anywidget", "@jupyter-widgets/jupyterlab-manager", *MANAGERS],
            "extension_denylist": ["@jupyter-notebook/lab-extension"],
            "preheat_kernel": preheat > 0,
            "default_pool_size": preheat,
            "multi_kernel_manager_class": Kernels,
            "kernel_spec_manager_class": ThisPython,
        },
        Kernels={
            "visitors": visitors,
            "cull_idle_timeout": AWAY,
            "cull_interval": 30,
            "cull_busy": True,
            "cull_connected": False,
        },
        KernelRestarter={"restart_limit": 0},  # one that died has no panel any more; the page says so
        VoilaExecutor={
            "cell_error_instruction": "Whoever runs this app finds the error in its log.",
            "cell_timeout_instruction": "",
        },
    )
