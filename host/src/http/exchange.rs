//! One request and the answer that a handler makes to it: what `struct callsign_request` points to.

use std::cell::{RefCell, UnsafeCell};
use std::ffi::CString;
use std::ptr;

use bytes::Bytes;
use callsign_plugin::abi;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::head::Head;
use crate::plugin::handler::Callbacks;
use crate::plugin::registry::Unresolved;

/// A request in the hands of a handler.
#[repr(C)]
pub struct Exchange {
    /// What the plugin sees. First, so that its address is the exchange's.
    shared: UnsafeCell<abi::Request>,
    /// Whether it is a good WebSocket upgrade.
    pub upgrade: bool,
    /// What the request may become; moves on to the connection.
    pub owner: Owner,
    /// Owns what `shared` points to.
    _strings: (CString, Bytes),
    /// What the handler has answered so far.
    pub answer: RefCell<Answer>,
}

/// The connection that a request may become, as a plugin sees it before there is one. [`ID`](Self::ID) tells it
/// from a connection.
#[repr(C)]
pub struct Owner {
    /// What the plugin sees. First, so that its address is the owner's.
    shared: UnsafeCell<abi::Connection>,
    /// Peer, path, query and headers of the request.
    pub head: Head,
}

impl Owner {
    /// No connection has it.
    pub const ID: u64 = 0;

    fn new(head: Head) -> Self {
        let shared = abi::Connection { data: ptr::null_mut(), id: Self::ID, data_tag: 0 };
        Self { shared: UnsafeCell::new(shared), head }
    }

    /// The pointer that is handed to plugins, good until it moves.
    pub fn as_ptr(&self) -> *mut abi::Connection {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Whether a plugin has set anything that has to be freed, or handed on.
    pub fn has_data(&mut self) -> bool {
        let shared = self.shared.get_mut();
        !shared.data.is_null() || shared.data_tag != 0
    }

    /// What a plugin has set is gone.
    pub fn clear(&mut self) {
        let shared = self.shared.get_mut();
        (shared.data, shared.data_tag) = (ptr::null_mut(), 0);
    }

    /// What is the connection's own from now on: the head, and what the plugin has set.
    pub fn into_connection(self, id: u64) -> (Head, abi::Connection) {
        (self.head, abi::Connection { id, ..self.shared.into_inner() })
    }
}

impl From<Head> for Owner {
    fn from(head: Head) -> Self {
        Self::new(head)
    }
}

/// Headers of one answer: far more than any client reads, far fewer than the map can hold.
const HEADERS_MAX: usize = 1000;

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// 200 if the handler sets none.
    pub status: u16,
    /// In the order they were added.
    pub headers: HeaderMap,
    /// Copied from the plugin.
    pub body: Bytes,
    /// What the handler's handshake came to.
    pub handshake: Option<Handshake>,
}

/// What a handshake came to.
#[derive(Debug)]
pub enum Handshake {
    /// Upgrade, and call these.
    Bound(Callbacks),
    /// A name is no handler.
    Unresolved(Unresolved),
    /// The request is no upgrade.
    NotUpgrade,
}

impl Exchange {
    /// A request before its handler is called.
    pub fn new(method: &str, head: Head, body: Bytes, upgrade: bool) -> Self {
        let method = CString::new(method).unwrap_or_default();
        // The strings are on the heap: their addresses stay when the exchange moves.
        let shared = abi::Request {
            data: ptr::null_mut(),
            struct_size: size_of::<abi::Request>() as u32,
            upgrade: u32::from(upgrade),
            method: method.as_ptr(),
            path: head.path().as_ptr(),
            query: head.query().as_ptr(),
            peer: head.peer().as_ptr(),
            body: body.as_ptr(),
            body_length: body.len(),
            host: head.header(b"host").unwrap_or(c"").as_ptr(),
            owner: ptr::null_mut(),
            method_code: method_code(method.to_bytes()),
        };
        let answer = Answer { status: 200, headers: HeaderMap::new(), body: Bytes::new(), handshake: None };
        Self {
            shared: UnsafeCell::new(shared),
            upgrade,
            owner: Owner::new(head),
            _strings: (method, body),
            answer: RefCell::new(answer),
        }
    }

    /// The pointer that is handed to the plugin, good until the exchange moves.
    pub fn as_ptr(&mut self) -> *mut abi::Request {
        self.shared.get_mut().owner = self.owner.as_ptr();
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Adds a header to the answer; false if HTTP does not allow it or the host sets it itself.
    pub fn add_header(&self, name: &[u8], value: &[u8]) -> bool {
        const OURS: [HeaderName; 6] = [
            header::CONTENT_LENGTH,
            header::DATE,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
            header::SEC_WEBSOCKET_ACCEPT,
        ];
        match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) if !OURS.contains(&name) => {
                let headers = &mut self.answer.borrow_mut().headers;
                headers.len() < HEADERS_MAX && headers.try_append(name, value).is_ok()
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
