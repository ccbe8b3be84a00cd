"""Settings of the magics: traitlets, shown by `%config FastMagic` and changed by `%config FastMagic.seed = 7`."""

from __future__ import annotations

from typing import Any

from traitlets import Bool, Int, Unicode
from traitlets.config import Configurable

from ..errors import NotFoundError, did_you_mean


class FastMagic(Configurable):
    """Defaults of the fastmagic magics."""

    preload = Bool(True, help="Import fastai in the background after %load_ext fastmagic.").tag(config=True)
    seed = Int(
        42,
        allow_none=True,
        help="Seed of the split and of every training; None leaves the random generators alone.",
    ).tag(config=True)
    show = Int(6, min=0, help="How many pictures %datablock shows.").tag(config=True)
    offline = Bool(False, help="Never ask the internet for pretrained weights; use what is cached.").tag(config=True)
    proxy = Unicode(
        "", help="Proxy for %images, http://user:password@host:port; empty: the environment's (HTTPS_PROXY)."
    ).tag(config=True)
    ca_bundle = Unicode(
        "", help="PEM file of the certificates to trust; empty: REQUESTS_CA_BUNDLE, SSL_CERT_FILE or the usual ones."
    ).tag(config=True)

    @classmethod
    def attach(cls, shell: Any) -> FastMagic:
        """Return the settings of a shell, adding them to what `%config` lists the first time."""
        for configurable in shell.configurables:
            if isinstance(configurable, cls):
                return configurable
        settings = cls(parent=shell)
        shell.configurables.append(settings)
        return settings

    def update_config(self, config: Any) -> None:
        """Take over changed settings.

        Raises:
            FastmagicError: a name that is no setting; traitlets itself would only warn.
        """
        names = self.trait_names(config=True)
        for name in config.get(type(self).__name__, {}):
            if name not in names:
                hint = did_you_mean(name, names) or f"Settings: {', '.join(sorted(names))}."
                raise NotFoundError(f"FastMagic has no setting {name!r}.", hint)
        super().update_config(config)
