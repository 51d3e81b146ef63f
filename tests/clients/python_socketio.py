"""python-socketio, as its users write it.

python python_socketio.py <address> [<transport>,<transport>]
"""

import logging
import sys

import socketio

from say import say


class ReadLog(logging.Handler):
    """Says each event's packet as it was read.

    The client calls the handler for each message on a new thread, so what is
    heard may change places with its neighbours; what is read does not.
    """

    def emit(self, record):
        if record.msg == "Received packet %s data %s":
            kind, data = record.args
            if kind == "MESSAGE" and data.startswith("2/pricings,"):
                say({"read": data})


log = logging.getLogger("engineio")
log.propagate = False
log.setLevel(logging.INFO)
log.addHandler(ReadLog())

client = socketio.Client(engineio_logger=log)


# One parameter, as the documentation's handlers have: a second argument would be
# a TypeError.
@client.on("message", namespace="/pricings")
def on_message(event):
    say({"heard": [event]})


@client.on("disconnect", namespace="/pricings")
def on_disconnect(reason):
    say({"disconnected": reason})


@client.on("connect_error", namespace="/pricings")
def on_connect_error(error):
    say({"refused": error})


client.connect(
    sys.argv[1],
    socketio_path="events",
    namespaces=["/pricings"],
    transports=sys.argv[2].split(",") if len(sys.argv) > 2 else None,
    # A busy machine may take longer than the second that it waits by default.
    wait_timeout=60,
)
say({"ready": True, "transport": client.transport()})
client.wait()
