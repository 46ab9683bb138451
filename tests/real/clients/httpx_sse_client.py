import httpx
import httpx_sse

from each import each


def read(url, tell):
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for sse in source.iter_sse():
            tell([sse.event, sse.data, sse.id])


each(read)
