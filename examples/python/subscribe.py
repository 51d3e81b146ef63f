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

address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5403"
file = Path(sys.argv[2] if len(sys.argv) > 2 else "position.txt")
PAUSE_S = 1
CONNECT_LIMIT_S = 10

# Behind the last event that was dealt with; "": from now on.
since = file.read_text() if file.exists() else ""


# A plain function: it is called for one event after the other, in their order.
def on_message(event, reference):
    print(json.dumps(event, ensure_ascii=False), flush=True)
    # Kept when the event was dealt with: after a crash it may come again, but it
    # is never left out.
    on_position(reference["position"])


def on_position(position):
    """Where we are; without an event too, first right after connecting."""
    global since
    since = position
    keep(position)


def keep(position):
    """As a whole or not at all, whenever this program ends."""
    new = file.with_name(file.name + ".new")
    new.write_text(position)
    new.replace(file)


async def listen(refusals):
    """Until the connection ends, or is not made."""
    ended = asyncio.Event()
    # A session of its own: however this ends, nothing of it stays open.
    async with aiohttp.ClientSession() as http:
        client = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
        client.on("message", on_message, namespace="/pricings")
        client.on("position", on_position, namespace="/pricings")
        client.on("connect_error", refusals.append, namespace="/pricings")
        client.on("disconnect", lambda reason: ended.set(), namespace="/pricings")
        connecting = client.connect(
            address,
            socketio_path="events",
            namespaces=["/pricings"],
            transports=["websocket"],
            auth={"since": since, "apiKey": os.environ.get("API_KEY")},
            wait_timeout=CONNECT_LIMIT_S,
        )
        # The client itself waits without a limit for a server that says nothing.
        await asyncio.wait_for(connecting, CONNECT_LIMIT_S)
        print("connected, going on" if since else "connected, from now on", file=sys.stderr)
        await ended.wait()
        print("disconnected", file=sys.stderr)


async def main():
    # Reconnecting by itself, the client would stay away after the server's refusal,
    # and after a server that took its leave.
    global since
    reachable = True
    while True:
        refusals = []
        try:
            await listen(refusals)
            reachable = True
        except (socketio.exceptions.ConnectionError, asyncio.TimeoutError) as error:
            # A dict is the server's refusal; anything else says that it is not there.
            messages = [refusal["message"] for refusal in refusals if isinstance(refusal, dict)]
            if messages:
                print(*messages, file=sys.stderr)
            elif reachable:
                reason = str(error) or "no answer in time"
                print(f"cannot reach {address}: {reason}; trying again", file=sys.stderr)
            reachable = bool(messages)
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
