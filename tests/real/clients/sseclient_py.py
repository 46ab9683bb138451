import requests
import sseclient

from each import each


def read(url, tell):
    response = requests.get(url, stream=True)
    for event in sseclient.SSEClient(response).events():
        # What it leaves out stays out: it knows of no id but the event's own.
        tell([event.event, event.data, event.id or ""])


each(read)
