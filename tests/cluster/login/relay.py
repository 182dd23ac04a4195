"""Leads connections on: ``relay.py HOST:PORT=HOST:PORT ...``, from the first to the second.

The identity provider and the object store of one machine listen on loopback alone. This brings pods
to them, and inside of the hub's pod the provider to the address that it has for everybody.
"""

import asyncio
import sys

_CHUNK = 65536


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


async def relay(source: str, target: str) -> None:
    host, _, port = source.rpartition(":")
    to_host, _, to_port = target.rpartition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(to_host, int(to_port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))
        far_writer.close()
        writer.close()

    server = await asyncio.start_server(connected, host, int(port))
    await server.serve_forever()


async def main() -> None:
    await asyncio.gather(*(relay(*each.split("=")) for each in sys.argv[1:]))


asyncio.run(main())
