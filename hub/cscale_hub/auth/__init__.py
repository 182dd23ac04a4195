"""Login with EGI Check-in: OpenID Connect, entitlements to groups, tokens renewed in time."""
