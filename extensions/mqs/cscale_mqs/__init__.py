"""The Metadata Query Service: the whole federation behind one STAC API, for anybody.

It offers what the C-SCALE MQS offered (collections named ``PROVIDER|collection``, the list of data
providers, one search over all of them) on the engine of :mod:`cscale_core.catalog`. It only reads,
knows no users, holds no login, and says in every answer what each provider did.
"""
