from cscale_hub.configure import configure
from cscale_hub.settings import load_settings

configure(get_config(), load_settings())  # type: ignore[name-defined]  # noqa: F821
