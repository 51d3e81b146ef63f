"""Keeps a copy of all services and pricings in a file, over restarts of itself
and of the server.

python list_then_watch.py [<address>] [<file>]

It lists once, subscribes from the position of that list, and reads anew the
service that an event names; so an event that comes twice does no harm. The file
holds {position, services}: the copy, and how far it has heard.

What is not announced (a new name, an archived pricing's deletion, a service that
has no pricings) shows at the next event of that service, or in a new list.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

import aiohttp
import socketio
from yarl import URL

address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5403"
file = Path(sys.argv[2] if len(sys.argv) > 2 else "services.json")
api_key = os.environ.get("API_KEY")
PAGE_SERVICES = 1000
PAUSE_S = 1
CONNECT_LIMIT_S = 10
TIME_LIMIT = aiohttp.ClientTimeout(total=30)


class Copy:
    """The services as they are known here."""

    def __init__(self, http):
        self.http = http
        self.reachable = True
        # By id, which a service keeps when it gets another name.
        self.services = {}
        # The position of the last event heard, and the services named since the
        # file was written.
        self.heard = None
        self.changed = set()
        self.something_changed = asyncio.Event()
        # One thing after another.
        self.turn = asyncio.Lock()

    async def begin(self):
        if file.exists():
            kept = json.loads(file.read_text())
            self.services = {service["id"]: service for service in kept["services"]}
            self.heard = kept["position"]
            print(f"going on with {len(self.services)} services", flush=True)
        else:
            await self.list()

    def hear(self, event, reference):
        self.changed.add(event["details"]["serviceName"])
        self.move(reference["position"])

    def move(self, position):
        """On behind an event, or without one."""
        self.heard = position
        self.something_changed.set()

    async def list(self):
        """Reads all services, and the position to subscribe from."""
        services, first_position, last = {}, None, None
        while True:
            # Each page begins with the last service of the one before. If it does
            # not, services came or went meanwhile, and one may have been passed over.
            offset = max(len(services) - 1, 0)
            page, position = await self.get(f"/services?limit={PAGE_SERVICES}&offset={offset}")
            if last and (not page or page[0]["id"] != last["id"]):
                services, first_position, last = {}, None, None
                continue
            # What changes after the first page is heard.
            first_position = first_position or position
            services.update((service["id"], service) for service in page)
            if len(page) < PAGE_SERVICES:
                break
            last = page[-1]
        self.services, self.heard = services, first_position
        self.changed.clear()
        self.keep(first_position)
        print(f"listed {len(services)} services", flush=True)

    async def follow(self):
        """Reads the services that events named."""
        while True:
            await self.something_changed.wait()
            self.something_changed.clear()
            async with self.turn:
                await self.read_changed()

    async def read_changed(self):
        position, names = self.heard, list(self.changed)
        self.changed.clear()
        unknown = False
        for name in names:
            service, _ = await self.get(f"/services/{quote(name, safe='')}")
            here_as = {name, service["name"]} if service else {name}
            old = [key for key, known in self.services.items() if known["name"] in here_as]
            for key in old:
                del self.services[key]
            if service:
                self.services[service["id"]] = service
            unknown = unknown or not (old or service)
            print(f"read {name}" if service else f"{name} is gone", flush=True)
        # Gone, and never seen by this name: it may be here by an old one.
        if unknown:
            await self.list()
        else:
            self.keep(position)

    async def get(self, path):
        """A GET's JSON and position, however long that takes; None where nothing is."""
        url = URL(address + path, encoded=True)
        headers = {"x-api-key": api_key} if api_key else {}
        while True:
            try:
                async with self.http.get(url, headers=headers, timeout=TIME_LIMIT) as response:
                    self.reachable = True
                    if response.status == 200:
                        return await response.json(), response.headers["event-position"]
                    if response.status == 404:
                        return None, None
                    print(f"{path}: {response.status} {await response.text()}", file=sys.stderr)
                    if response.status < 500:
                        sys.exit(1)
            except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                self.cannot_reach(error)
            await asyncio.sleep(PAUSE_S)

    def cannot_reach(self, error):
        """Says so once, until the server is there again."""
        if self.reachable:
            reason = str(error) or "no answer in time"
            print(f"cannot reach {address}: {reason}; trying again", file=sys.stderr)
        self.reachable = False

    def keep(self, position):
        """As a whole or not at all, whenever this program ends."""
        text = json.dumps({"position": position, "services": list(self.services.values())})
        new = file.with_name(file.name + ".new")
        new.write_text(text)
        new.replace(file)


async def listen(copy, refusals):
    """Until the connection ends, or is not made."""
    ended = asyncio.Event()
    # A session of its own: however this ends, nothing of it stays open.
    async with aiohttp.ClientSession() as http:
        client = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
        # A plain function: it is called for one event after the other, in their order.
        client.on("message", copy.hear, namespace="/pricings")
        client.on("position", copy.move, namespace="/pricings")
        client.on("connect_error", refusals.append, namespace="/pricings")
        client.on("disconnect", lambda reason: ended.set(), namespace="/pricings")
        connecting = client.connect(
            address,
            socketio_path="events",
            namespaces=["/pricings"],
            transports=["websocket"],
            auth={"since": copy.heard, "apiKey": api_key},
            wait_timeout=CONNECT_LIMIT_S,
        )
        # The client itself waits without a limit for a server that says nothing.
        await asyncio.wait_for(connecting, CONNECT_LIMIT_S)
        copy.reachable = True
        print("connected", flush=True)
        await ended.wait()


async def watch(copy):
    """Listens, again and again, from where the copy is."""
    # Reconnecting by itself, the client would stay away after the server's refusal,
    # and after a server that took its leave.
    while True:
        refusals = []
        try:
            await listen(copy, refusals)
        except (socketio.exceptions.ConnectionError, asyncio.TimeoutError) as error:
            # A dict is the server's refusal; anything else says that it is not there.
            messages = [refusal["message"] for refusal in refusals if isinstance(refusal, dict)]
            if not messages:
                copy.cannot_reach(error)
            for message in messages:
                print(message, file=sys.stderr)
            if any(message.startswith("UNAUTHORIZED") for message in messages):
                sys.exit(1)
            if any(message.startswith("POSITION_") for message in messages):
                # Expired, or of another database: the events since then cannot be had.
                async with copy.turn:
                    await copy.list()
        await asyncio.sleep(PAUSE_S)


async def main():
    async with aiohttp.ClientSession() as http:
        copy = Copy(http)
        await copy.begin()
        await asyncio.gather(copy.follow(), watch(copy))


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
