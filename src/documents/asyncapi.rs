//! The events as an AsyncAPI 3.0 document. Its schemas are those of [`event`](crate::event)'s
//! types.

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::event::{Code, Event};

/// The document.
pub(super) fn document() -> Value {
    let mut schemas = Map::new();
    schemas.insert("Position".to_owned(), json!({
        "type": "string",
        "description": "A place in the order of events, the same on every instance. An opaque text, to be sent back as `since`.",
    }));
    schemas.insert("Reference".to_owned(), json!({
        "type": "object",
        "description": "What is told beside an event to a client that passed `since` in its handshake.",
        "properties": {
            "position": reference("#/components/schemas/", "Position"),
            "id": {
                "type": "string",
                "description": "Belongs to the event: the same for every client, at any time and from any instance.",
            },
            "occurredAt": {
                "type": "string",
                "format": "date-time",
                "description": "When the row changed, in UTC.",
            },
        },
        "required": ["position", "id", "occurredAt"],
        "additionalProperties": false,
    }));
    let mut parts = Vec::new();
    Event::schemas(&mut parts);
    for (name, schema) in parts {
        schemas.insert(name, json!(schema));
    }
    let mut messages = Map::new();
    for schema in variants() {
        let code = code(&schema);
        messages.insert(code.clone(), announcement(&code, &schema));
        schemas.insert(code, schema);
    }
    let announced: Vec<Value> = references("#/channels/pricings/messages/", messages.keys());
    messages.insert("POSITION".to_owned(), position());
    for (name, message) in handshake() {
        messages.insert(name.to_owned(), message);
    }
    let channel_messages: Map<String, Value> = messages
        .keys()
        .map(|name| (name.clone(), reference("#/components/messages/", name)))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "space-events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every committed change of services and pricings, once and in order, over Socket.IO. `openapi.json` has the requests that make such changes.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "socketio": {
                "host": "{host}",
                "pathname": "/events/",
                "protocol": "ws",
                "description": "Socket.IO 5 over Engine.IO 4, by websocket or polling, with `path: \"/events\"`. If SOCKET_AUTH is `key`, `apiKey` is needed.",
                "variables": { "host": { "default": "localhost:5403" } },
            },
        },
        "channels": {
            "pricings": {
                "address": "/pricings",
                "title": "The namespace /pricings",
                "description": "Whoever has joined it hears every event that commits after the server's answer to CONNECT.",
                "servers": [{ "$ref": "#/servers/socketio" }],
                "messages": channel_messages,
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": {
                            "type": "object",
                            "properties": {
                                "EIO": { "type": "string", "const": "4" },
                                "transport": { "type": "string", "enum": ["websocket", "polling"] },
                            },
                            "required": ["EIO", "transport"],
                        },
                        "bindingVersion": "0.1.0",
                    },
                },
            },
        },
        "operations": {
            "join": {
                "action": "receive",
                "summary": "A client joins the namespace, and is let in or refused.",
                "channel": { "$ref": "#/channels/pricings" },
                "messages": references("#/channels/pricings/messages/", ["CONNECT"]),
                "reply": {
                    "channel": { "$ref": "#/channels/pricings" },
                    "messages": references("#/channels/pricings/messages/", ["CONNECTED", "CONNECT_ERROR"]),
                },
            },
            "announce": {
                "action": "send",
                "summary": "The event `message`, for every committed change.",
                "channel": { "$ref": "#/channels/pricings" },
                "messages": announced,
            },
            "tellPosition": {
                "action": "send",
                "summary": "The event `position`, for clients that come back.",
                "channel": { "$ref": "#/channels/pricings" },
                "messages": references("#/channels/pricings/messages/", ["POSITION"]),
            },
        },
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {
                    "type": "httpApiKey",
                    "name": "x-api-key",
                    "in": "header",
                    "description": "A key of any scope. A browser sends it as `apiKey` in its handshake.",
                },
            },
        },
    })
}

/// The schema of each event.
fn variants() -> Vec<Value> {
    match json!(Event::schema()).get_mut("oneOf").map(Value::take) {
        Some(Value::Array(variants)) => variants,
        _ => Vec::new(),
    }
}

/// The code of an event, by its schema.
fn code(schema: &Value) -> String {
    let code = schema.pointer("/properties/code/enum/0");
    code.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// One of the events as a message. AsyncAPI knows one payload; Socket.IO's event
/// has a list of arguments.
fn announcement(code: &str, schema: &Value) -> Value {
    json!({
        "name": code,
        "summary": schema.get("description"),
        "description": "Sent as the event `message`. To a client that passed `since` in its handshake a second argument tells its position, its id and when it occurred.",
        "payload": reference("#/components/schemas/", code),
        "x-socket-io": {
            "event": "message",
            "arguments": {
                "type": "array",
                "items": references("#/components/schemas/", [code, "Reference"]),
                "additionalItems": false,
                "minItems": 1,
                "maxItems": 2,
            },
        },
    })
}

/// Where a client is that has heard nothing for a while.
fn position() -> Value {
    json!({
        "summary": "Where the client is.",
        "description": "Sent as the event `position` to a client that passed `since` in its handshake: right after CONNECT, and when its place moved on without a message, at most every 10 seconds. Whoever comes back with it misses nothing.",
        "payload": reference("#/components/schemas/", "Position"),
        "x-socket-io": {
            "event": "position",
            "arguments": {
                "type": "array",
                "items": references("#/components/schemas/", ["Position"]),
                "additionalItems": false,
                "minItems": 1,
                "maxItems": 1,
            },
        },
    })
}

/// What is said when a client joins.
fn handshake() -> [(&'static str, Value); 3] {
    [
        (
            "CONNECT",
            json!({
                "summary": "A client joins: the packet `40/pricings,{…}`.",
                "description": "In most libraries the option `auth`.",
                "payload": {
                    "type": "object",
                    "properties": {
                        "since": {
                            "type": ["string", "null"],
                            "description": "Asks for positions: with each message, and as the event `position`. Empty: from now on. A position: first everything that committed after it, with no gap and nothing twice.",
                        },
                        "services": {
                            "type": ["array", "null"],
                            "description": "Asks for the events of these services only, without regard to case. They need not exist yet.",
                            "items": { "type": "string", "pattern": "^[^\\u0000]*[^\\u0000 \\t\\r\\n][^\\u0000]*$" },
                            "minItems": 1,
                        },
                        "codes": {
                            "type": ["array", "null"],
                            "description": "Asks for these events only.",
                            "items": { "type": "string", "enum": Code::ALL.map(Code::as_str) },
                            "minItems": 1,
                        },
                        "apiKey": {
                            "type": "string",
                            "description": "A key, if SOCKET_AUTH is `key`.",
                        },
                    },
                },
            }),
        ),
        (
            "CONNECTED",
            json!({
                "summary": "The client is in: the packet `40/pricings,{…}`.",
                "payload": {
                    "type": "object",
                    "properties": { "sid": { "type": "string" } },
                    "required": ["sid"],
                },
            }),
        ),
        (
            "CONNECT_ERROR",
            json!({
                "summary": "The client is refused: the packet `44/pricings,{…}`.",
                "description": "The connection stays.",
                "payload": {
                    "type": "object",
                    "properties": {
                        "message": {
                            "type": "string",
                            "description": "Begins with a code. POSITION_INVALID, POSITION_EXPIRED: list again, and subscribe from there.",
                            "pattern": "^(AUTH_INVALID|UNAUTHORIZED|UNAVAILABLE|FILTER_INVALID|POSITION_INVALID|POSITION_EXPIRED): ",
                        },
                    },
                    "required": ["message"],
                },
            }),
        ),
    ]
}

fn references<'a>(
    place: &str,
    names: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
) -> Vec<Value> {
    let names = names.into_iter();
    names.map(|name| reference(place, name.as_ref())).collect()
}

fn reference(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("{place}{name}") })
}
