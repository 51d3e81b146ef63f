"""Prints every event, and goes on where it stopped when it is started again.

python subscribe.py [<address>] [<file for the position>]
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp
import socketio

address = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:5403"
file = Path(sys.argv[2] if len(sys.argv) > 2 else "position.txt")
PAUSE_S = 1

# The position of the last event that was dealt with; "": from now on.
since = file.read_text() if file.exists() else ""


# A plain function: it is called for one event after the other, in their order.
def on_message(event, position):
    global since
    print(json.dumps(event, ensure_ascii=False), flush=True)
    # Kept when the event was dealt with: after a crash it may come again, but it
    # is never left out.
    since = position
    keep(position)


def keep(position):
    """As a whole or not at all, whenever this program ends."""
    new = file.with_name(file.name + ".new")
    new.write_text(position)
    new.replace(file)


async def listen(http, refusals):
    """Until the connection ends, or is not made."""
    ended = asyncio.Event()
    client = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
    client.on("message", on_message, namespace="/pricings")
    client.on("connect_error", refusals.append, namespace="/pricings")
    client.on("disconnect", lambda reason: ended.set(), namespace="/pricings")
    await client.connect(
        address,
        socketio_path="events",
        namespaces=["/pricings"],
        transports=["websocket"],
        auth={"since": since, "apiKey": os.environ.get("API_KEY")},
        wait_timeout=30,
    )
    print("connected, going on" if since else "connected, from now on", file=sys.stderr)
    await ended.wait()
    print("disconnected", file=sys.stderr)


async def main():
    async with aiohttp.ClientSession() as http:
        await listen_again_and_again(http)


async def listen_again_and_again(http):
    # Reconnecting by itself, the client would stay away after the server's refusal,
    # and after a server that took its leave.
    global since
    while True:
        refusals = []
        try:
            await listen(http, refusals)
        except socketio.exceptions.ConnectionError:
            # A dict is the server's refusal; anything else says that it is not there.
            messages = [error["message"] for error in refusals if isinstance(error, dict)]
            print(*(messages or refusals), file=sys.stderr)
            if any(message.startswith("UNAUTHORIZED") for message in messages):
                sys.exit(1)
            if any(message.startswith("POSITION_") for message in messages):
                # Expired, or of another database. Events may be lost: whoever keeps a
                # state reads it anew now (list_then_watch.py). Here, on from now.
                since = ""
        await asyncio.sleep(PAUSE_S)


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
