"""Calls the program with the client that openapi-python-client made out of its
document, and says what it got.

generated_client.py DIRECTORY URL KEY
"""

import io
import sys

from say import say

directory, url, key = sys.argv[1:]
sys.path.insert(0, directory)

from made.api.events import list_changes, list_events
from made.api.pricings import change_pricing
from made.api.services import create_service, list_services
from made.client import AuthenticatedClient
from made.models import EventCode, Order, UploadForm
from made.types import UNSET, File

client = AuthenticatedClient(base_url=url, token=key, prefix="", auth_header_name="x-api-key", raise_on_unexpected_status=True)

FILE = b'saasName: Python\nsyntaxVersion: "3.0"\nversion: "1"\ncreatedAt: "2024-03-05"\ncurrency: EUR\nfeatures: {}\nplans: {}\n'
upload = UploadForm(pricing=File(payload=io.BytesIO(FILE), file_name="pricing.yml", mime_type="application/yaml"))
created = create_service.sync(client=client, body=upload)
say({"created": created.name})
changed = change_pricing.sync("Python", "1", client=client)
say({"archived": list(changed.archived_pricings.to_dict())})
say({"services": [service.name for service in list_services.sync(client=client)]})


def short(event):
    version = event.details.pricing_version
    return [event.code.value, event.details.service_name, None if version is UNSET else version]


page = list_events.sync(client=client)
say({"events": [short(event) for event in page.events]})
# Each has what belongs to it, and nothing that the document does not name.
for event in page.events:
    assert event.occurred_at.tzinfo is not None and event.position and event.id, event
    assert event.additional_properties == {}, event
say({"since": [short(event) for event in list_events.sync(client=client, since=page.events[0].position).events]})
found = list_events.sync(client=client, order=Order.DESC, code=EventCode.PRICING_CREATED)
say({"created": [short(event) for event in found.events]})
changes = list_changes.sync(client=client, order=Order.ASC).changes
say({"changes": ["none" if change.event is UNSET else short(change.event) for change in changes]})
