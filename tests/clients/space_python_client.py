"""space-python-client, as its README shows it.

python space_python_client.py <address>
"""

import sys
import threading
import time

from space_client import SpaceClientFactory

from say import say

client = SpaceClientFactory.connect(sys.argv[1], "a key that nobody asks for", 10_000)


def hear(event):
    client.on(event, lambda details: say({"heard": [event, details]}))


for event in ["pricing_created", "pricing_archived", "pricing_actived", "service_disabled"]:
    hear(event)
client.on("error", lambda error: say({"refused": error}))
client.connect()

# The client connects while it is made, before it can be told of `synchronized`.
while "/pricings" not in client._socket.namespaces:
    time.sleep(0.01)
say({"ready": True, "healthcheck": client.is_connected_to_space()})
threading.Event().wait()
