"""Who a person is: entitlements, virtual organisations, the short name, and tokens on demand.

``entitlements`` and ``slug`` are the one part of core that the hub imports too: the rules that
decide who may do what exist once.
"""
