//! Plain HTTP without WebSocket: a page, JSON, a request body, and errors.
//!
//! | request | response |
//! | --- | --- |
//! | `GET /` | a page (HTML) |
//! | `GET /echo?…` | the request as JSON: method, path, query, peer, headers |
//! | `POST /echo` | the same, with the body |
//! | anything else | 404, as JSON |

use callsign_plugin::prelude::*;
use serde_json::{Map, Value, json};

callsign_plugin::plugin!();

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Callsign</title>
<h1>It works</h1>
<p>This page comes from the <code>web</code> example plugin.
<a href=\"/echo?hello=world\">/echo</a> responds with JSON.</p>
";

#[onrequest]
fn onrequest(request: &mut Request) -> Response {
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") => Response::html(PAGE),
        ("GET" | "HEAD" | "POST", "/echo") => Response::json(describe(request).to_string()),
        (_, "/" | "/echo") => {
            error(405, "this path does not support this method").header("allow", "GET, HEAD, POST")
        }
        (_, path) => error(404, &format!("nothing at {path}")),
    }
}

fn describe(request: &Request) -> Value {
    let headers: Map<String, Value> = request
        .headers()
        .map(|(name, value)| (name.to_owned(), Value::from(String::from_utf8_lossy(value))))
        .collect();
    json!({
        "method": request.method(),
        "path": request.path(),
        "query": request.query(),
        "peer": request.peer(),
        "headers": headers,
        "body": String::from_utf8_lossy(request.body()),
    })
}

fn error(status: u16, message: &str) -> Response {
    Response::json(json!({ "error": message }).to_string()).status(status)
}
