"""An agent inside your own app: three lines of FastAPI, and a hook that knows who may come and who that is.

`python examples/served.py`, then http://127.0.0.1:8000/agent/ with Anna's key; clients of OpenAI Realtime and Gemini
Live find it below the same address. With words (`… served.py turn on the kitchen light`) it is asked once, and ends.
"""

import sys
from typing import Literal

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from liveagent import Agent, Options, Refused, Request, Server, tool

GUESTS = {"key-of-anna": "Anna", "key-of-ben": "Ben"}


@tool(phrases=["turn {state} [the] {room} light"])
async def light(room: Literal["kitchen", "bedroom"], state: Literal["on", "off"]) -> str:
    """Switch a room's light."""
    return f"the {room} light is {state}"


async def admit(request: Request) -> Options:
    """Called before there is a session. Here a dict knows who has which key; elsewhere a database does."""
    guest = GUESTS.get(request.key)
    if guest is None:
        raise Refused("this key is not known", status=401)
    return Options(user=guest, instructions=f"You speak with {guest}. Be brief.")


server = Server(Agent("nano", tools=[light], voice=None), admit=admit)
app = FastAPI(lifespan=server.lifespan)
app.mount("/agent", server)


def ask(words: str, key: str) -> None:
    """One question, over a websocket, and the tool's answer."""
    with TestClient(app) as client:
        headers = {"Authorization": f"Bearer {key}"}
        with client.websocket_connect("/agent/live", ["liveagent.v1"], headers=headers) as socket:
            socket.send_json({"type": "hello", "v": 1, "speak": False})
            print("instructions:", socket.receive_json()["agent"]["instructions"])
            socket.send_json({"type": "TextTyped", "text": words})
            while (said := socket.receive_json().get("e", {})).get("type") != "ToolReturned":
                pass
            print("tool:", said["result"])


if __name__ == "__main__":
    if sys.argv[1:]:
        ask(" ".join(sys.argv[1:]), "key-of-anna")
    else:
        uvicorn.run(app)
