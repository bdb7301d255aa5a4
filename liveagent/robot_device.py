"""A robot of ours as Home Assistant sees one: the announcement that its own description makes.

What is shown is its connection, whether a stop is latched, its cameras, and a button that stops it. It is not driven
from there: a command needs a lease and perhaps a confirmation, and neither fits into a switch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from liveagent.announcement import PREFIX
from liveagent.jsonform import Json

ORIGIN = "liveagent"
_STOP = (
    '{"id": "ha-{{ (as_timestamp(now()) * 1000) | int }}", "reason": "the button", "src": "home_assistant", '
    '"sent_ms": {{ (as_timestamp(now()) * 1000) | int }}}'
)


def device_topic(site: str, robot: str, prefix: str = PREFIX) -> str:
    """Where the robot is announced."""
    plain = "".join(each if each.isalnum() or each in "-_" else "-" for each in f"{site}_{robot}")
    return f"{prefix}/device/{ORIGIN}_{plain}/config"


def device_payload(
    top: str, site: str, robot: str, *, description: str = "", cameras: Sequence[str] = (), version: str = ""
) -> str:
    """The announcement of the robot whose topics begin with `top`."""
    unique = f"{ORIGIN}_{site}_{robot}"
    parts: dict[str, Json] = {
        "connection": {
            "p": "sensor", "name": "Connection", "uniq_id": f"{unique}_connection", "stat_t": f"{top}/connection",
            "val_tpl": "{{ value_json.state }}", "ent_cat": "diagnostic", "avty_mode": "any",
        },
        "stopped": {
            "p": "binary_sensor", "name": "Stopped", "uniq_id": f"{unique}_stopped", "stat_t": f"{top}/connection",
            "val_tpl": "{{ 'ON' if value_json.stop_id is defined and value_json.stop_id else 'OFF' }}",
            "dev_cla": "problem",
        },
        "stop": {
            "p": "button", "name": "Stop", "uniq_id": f"{unique}_stop", "cmd_t": f"{top}/stop", "cmd_tpl": _STOP,
            "qos": 1, "ret": False, "ic": "mdi:hand-back-right",
        },
    }  # fmt: skip
    for name in cameras:
        parts[f"camera_{name}"] = {
            "p": "camera", "name": f"Camera {name}", "uniq_id": f"{unique}_camera_{name}",
            "t": f"{top}/camera/{name}/jpeg",
        }  # fmt: skip
    device: Mapping[str, Json] = {
        "ids": [unique], "name": robot.replace("_", " ").replace("-", " "), "mf": ORIGIN,
        "mdl": description[:100] or "robot",
    }  # fmt: skip
    return json.dumps({
        "dev": device,
        "o": {"name": ORIGIN, "sw": version},
        "avty": [{
            "t": f"{top}/connection",
            "val_tpl": "{{ 'online' if value_json.state == 'ONLINE' else 'offline' }}",
        }],
        "cmps": parts,
    })  # fmt: skip
