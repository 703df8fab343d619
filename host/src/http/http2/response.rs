//! A response of this layer as HTTP/2 has it: 200 in place of a 101 (RFC 8441 §5), no body where there is none, and none of the
//! statuses that only HTTP/1.1 has. hyper removes the headers of a connection (RFC 9113 §8.2.2).

use hyper::body::Body as _;
use hyper::header::{CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT};
use hyper::{Method, Request, StatusCode};

use crate::http::answer::{HttpResponse, text};

/// What a response has to know of its request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The client wants the head alone.
    is_head: bool,
    /// Any success opens a tunnel.
    is_connect: bool,
}

impl Asked {
    /// That of a request which was not translated.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self { is_head: request.method() == Method::HEAD, is_connect: request.method() == Method::CONNECT }
    }
}

/// Translates the response.
pub fn translate(mut response: HttpResponse, asked: Asked) -> HttpResponse {
    let status = response.status();
    let is_switched =
        status == StatusCode::SWITCHING_PROTOCOLS && response.headers().contains_key(SEC_WEBSOCKET_ACCEPT);
    if asked.is_connect && is_switched {
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        return response;
    }
    if asked.is_connect && status.is_success() {
        // The client would take it for a WebSocket.
        return text(StatusCode::BAD_REQUEST, "no WebSocket is opened here");
    }
    match status {
        // There is no other protocol to switch to.
        StatusCode::UPGRADE_REQUIRED => *response.status_mut() = StatusCode::BAD_REQUEST,
        status if status.is_informational() => {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed");
        }
        _ => {}
    }
    let never_has_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if asked.is_head || never_has_body {
        let body = std::mem::take(response.body_mut());
        let headers = response.headers_mut();
        match body.size_hint().exact() {
            Some(length) if !never_has_body => {
                headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
            }
            _ if status == StatusCode::NO_CONTENT => _ = headers.remove(CONTENT_LENGTH),
            _ => {}
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::{refused, switching};

    const GET: Asked = Asked { is_head: false, is_connect: false };
    const HEAD: Asked = Asked { is_head: true, is_connect: false };
    const CONNECT: Asked = Asked { is_head: false, is_connect: true };

    fn status(response: HttpResponse, asked: Asked) -> u16 {
        translate(response, asked).status().as_u16()
    }

    fn page(status: u16) -> HttpResponse {
        text(StatusCode::from_u16(status).expect("a status"), "12345")
    }

    #[test]
    fn a_tunnel_is_opened_by_a_handshake_alone() {
        let protocol = HeaderValue::from_static("chat");
        let opened = translate(switching("", Some(protocol), None), CONNECT);
        assert_eq!(opened.status(), StatusCode::OK);
        assert!(!opened.headers().contains_key(SEC_WEBSOCKET_ACCEPT));
        assert_eq!(opened.headers()["Sec-WebSocket-Protocol"], "chat");
        assert_eq!(status(page(200), CONNECT), 400);
        assert_eq!(status(page(403), CONNECT), 403);
    }

    #[test]
    fn statuses_of_http_1_1_are_not_sent() {
        assert_eq!(status(refused(426, "it is for WebSockets"), GET), 400);
        assert_eq!(status(page(101), GET), 500);
        assert_eq!(status(page(103), GET), 500);
        assert_eq!(status(switching("", None, None), GET), 500);
        assert_eq!(status(page(200), GET), 200);
    }

    #[test]
    fn a_response_without_a_body_has_the_length_of_the_one_with_it() {
        let length = |status, asked| {
            let response = translate(page(status), asked);
            let length =
                response.headers().get(CONTENT_LENGTH).map(|it| it.to_str().expect("a number").to_owned());
            (response.body().size_hint().exact(), length)
        };
        assert_eq!(length(200, GET), (Some(6), None), "hyper adds it");
        assert_eq!(length(200, HEAD), (Some(0), Some("6".to_owned())));
        assert_eq!(length(204, GET), (Some(0), None));
        assert_eq!(length(304, GET), (Some(0), None));
        assert_eq!(length(304, HEAD), (Some(0), None));
    }
}
