"""One WebSocket, as told by a plan (JSON, first argument), with Python's `websockets`.

Steps: {"text": "…"} {"binary": "hex"} {"fragments": ["…", …]} {"binary_fragments": ["hex", …]} {"ping": "…"} (waits
for the pong) {"receive": n} {"close": code} {"reset": true}. Prints one JSON object: status, set_cookie, events.
"""

import asyncio
import json
import socket
import struct
import sys

from websockets.asyncio.client import connect


async def receive(socket_, events):
    fragments = []
    async for fragment in socket_.recv_streaming():
        fragments.append(fragment)
    kind = "text" if isinstance(fragments[0], str) else "binary"
    sizes = [len(fragment.encode() if kind == "text" else fragment) for fragment in fragments]
    whole = "".join(fragments) if kind == "text" else b"".join(fragments).hex()
    events.append({kind: whole, "fragments": sizes})


async def run(plan):
    headers = {"Cookie": plan["cookies"]} if plan["cookies"] else {}
    options = {"additional_headers": headers, "max_size": None, "ping_interval": None}
    if plan["from"]:
        options["local_addr"] = (plan["from"], 0)
    events = []
    open_ = await connect(plan["uri"], proxy=None, **options)
    for step in plan["steps"]:
        if "text" in step:
            await open_.send(step["text"])
        elif "binary" in step:
            await open_.send(bytes.fromhex(step["binary"]))
        elif "fragments" in step:
            await open_.send(step["fragments"])
        elif "binary_fragments" in step:
            await open_.send([bytes.fromhex(piece) for piece in step["binary_fragments"]])
        elif "ping" in step:
            await (await open_.ping(step["ping"]))
            events.append({"pong": step["ping"]})
        elif "receive" in step:
            for _ in range(step["receive"]):
                await receive(open_, events)
        elif "close" in step:
            await open_.close(step["close"])
            events.append({"closed": open_.close_code})
        elif "reset" in step:
            raw = open_.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            open_.transport.abort()
        else:
            raise ValueError(f"unknown step {step}")
    answer = open_.response
    return {
        "status": answer.status_code,
        "set_cookie": answer.headers.get_all("set-cookie"),
        "events": events,
    }


print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
