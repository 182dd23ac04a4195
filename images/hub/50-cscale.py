# Run by the zero-to-jupyterhub chart's own configuration, which gives it c. Everything is decided
# in the package; the settings are the values' custom.cscale.settings.
from cscale_hub.chart import chart_settings
from cscale_hub.configure import configure

configure(c, chart_settings())  # type: ignore[name-defined]  # noqa: F821
