"""The panel in a browser, measured: what runs for it, and how frames and bytes are counted."""
