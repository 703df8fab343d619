//! One request and the response that its handler makes; `struct callsign_request` of the ABI points to it. The parts of
//! a request enter, a [`HandlerResponse`] leaves.
//!
//! Invariant: an exchange does not move while its handler runs.

use std::cell::{RefCell, UnsafeCell};
use std::ffi::CString;
use std::ptr;
use std::rc::Rc;

use bytes::Bytes;
use callsign_plugin::abi;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::client::Client;
use crate::client::head::Head;
use crate::config::handshake::is_token;
use crate::plugin::exposed::{ExposedConnection, ExposedRequest};
use crate::plugin::handler::Callbacks;
use crate::plugin::registry::Unresolved;

/// A request while its handler runs.
#[repr(C)]
pub struct Exchange {
    /// The part that plugins see. First, because its address is the exchange's.
    shared: UnsafeCell<abi::Request>,
    /// Whether the request is a valid WebSocket handshake.
    pub upgrade: bool,
    /// The client that sent the request. An upgrade makes it a connection.
    pub client: Rc<Client>,
    /// Method and body, which `shared` points to.
    _strings: (CString, Vec<u8>),
    /// The response as far as the handler has made it.
    pub response: RefCell<HandlerResponse>,
}

/// Most headers of one response: far more than any client reads, far fewer than the map can hold.
const HEADERS_MAX: usize = 1000;

/// A handler's response to a request.
#[derive(Debug)]
pub struct HandlerResponse {
    /// 200 if the handler sets none.
    pub status: u16,
    /// In the order they were added.
    pub headers: HeaderMap,
    /// Copied from the plugin.
    pub body: Bytes,
    /// The result of the handler's handshake; None if the handler made none.
    pub handshake: Option<Handshake>,
}

/// The result of a handshake.
#[derive(Debug)]
pub enum Handshake {
    /// Upgrade the client, and bind these handlers to it.
    Bound(Callbacks),
    /// A name is not a handler.
    Unresolved(Unresolved),
    /// The request is not a WebSocket handshake.
    NotUpgrade,
}

// SAFETY: `shared` is an `UnsafeCell`, and the first field of a `repr(C)` struct, so it has the exchange's address. The
// pointer derives from the whole exchange. `Exchange` is neither `Send` nor `Sync`, so it stays on its thread.
#[expect(unsafe_code, reason = "plugins hold pointers to requests while their handler runs")]
unsafe impl ExposedRequest for Exchange {
    fn as_ptr(&mut self) -> *mut abi::Request {
        self.shared.get_mut().owner = self.client.as_ptr();
        // Derived from the whole exchange, because host functions turn the pointer back into a reference to it.
        ptr::from_mut(self).cast()
    }
}

impl Exchange {
    /// An exchange whose handler has not been called.
    pub fn new(method: &str, head: Head, body: Bytes, upgrade: bool) -> Self {
        let method = CString::new(method).unwrap_or_default();
        // A NUL follows the body, for plugins in C.
        let body = [&body[..], &[0]].concat();
        // The strings are on the heap, so their addresses stay the same when the exchange moves.
        let shared = abi::Request {
            data: ptr::null_mut(),
            struct_size: size_of::<abi::Request>() as u32,
            upgrade: u32::from(upgrade),
            method: method.as_ptr(),
            path: head.path().as_ptr(),
            query: head.query().as_ptr(),
            peer: head.peer().as_ptr(),
            body: body.as_ptr(),
            body_length: body.len() - 1,
            host: head.header(b"host").unwrap_or(c"").as_ptr(),
            owner: ptr::null_mut(),
            method_code: method_code(method.to_bytes()),
            status: 0,
        };
        let response =
            HandlerResponse { status: 200, headers: HeaderMap::new(), body: Bytes::new(), handshake: None };
        Self {
            shared: UnsafeCell::new(shared),
            upgrade,
            client: Rc::new(Client::requested(head)),
            _strings: (method, body),
            response: RefCell::new(response),
        }
    }

    /// Adds a header to the response. False: the header is invalid, set by the host itself, or one too many. A
    /// connection has one subprotocol (RFC 6455 §4.2.2), and the server negotiates extensions.
    pub fn add_header(&self, name: &[u8], value: &[u8]) -> bool {
        const SET_BY_HOST: [HeaderName; 7] = [
            header::CONTENT_LENGTH,
            header::DATE,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
            header::SEC_WEBSOCKET_ACCEPT,
            header::SEC_WEBSOCKET_EXTENSIONS,
        ];
        match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) if !SET_BY_HOST.contains(&name) => {
                let headers = &mut self.response.borrow_mut().headers;
                let is_protocol_fit = name != header::SEC_WEBSOCKET_PROTOCOL
                    || is_token(value.as_bytes()) && !headers.contains_key(&name);
                is_protocol_fit && headers.len() < HEADERS_MAX && headers.try_append(name, value).is_ok()
            }
            _ => false,
        }
    }
}

fn method_code(method: &[u8]) -> u32 {
    match method {
        b"GET" => abi::method::GET,
        b"POST" => abi::method::POST,
        b"PUT" => abi::method::PUT,
        b"DELETE" => abi::method::DELETE,
        b"HEAD" => abi::method::HEAD,
        b"OPTIONS" => abi::method::OPTIONS,
        b"PATCH" => abi::method::PATCH,
        _ => abi::method::OTHER,
    }
}
