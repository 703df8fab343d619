//! The headers declare the ABI themselves. Every field's offset and every number must equal
//! `callsign_plugin::abi`.

use std::fmt::Write;
use std::fs;
use std::mem::offset_of;

use callsign_plugin::abi;

use super::compile;
use crate::support::scratch;

/// C code that compiles only if a struct has the same size and its fields have the same offsets as in Rust.
macro_rules! layout {
    ($out:ident, $rust:ident, $c:literal, $($field:ident $(= $name:literal)?),*) => {
        writeln!($out, "CHECK(sizeof(struct {}) == {});", $c, size_of::<abi::$rust>()).expect("writing to a string succeeds");
        $(
            let name = [stringify!($field) $(, $name)?].pop().expect("one at least");
            let offset = offset_of!(abi::$rust, $field);
            writeln!($out, "CHECK(offsetof(struct {}, {name}) == {offset});", $c).expect("writing to a string succeeds");
        )*
    };
}

trait Pop<T> {
    fn pop(self) -> Option<T>;
}

impl<T, const N: usize> Pop<T> for [T; N] {
    fn pop(self) -> Option<T> {
        self.into_iter().next_back()
    }
}

#[test]
fn the_headers_have_the_layout_of_the_abi() {
    let mut c = String::from("#include <kore/http.h>\n#define CHECK(what) _Static_assert(what, #what)\n");
    layout!(c, Connection, "connection", data = "hdlr_extra", id = "callsign_id", data_tag = "callsign_tag");
    layout!(
        c,
        Request,
        "http_request",
        data = "hdlr_extra",
        struct_size = "callsign_size",
        upgrade = "callsign_upgrade",
        method = "callsign_method",
        path,
        query = "query_string",
        peer = "callsign_peer",
        body = "callsign_body",
        body_length = "http_body_length",
        host,
        owner,
        method_code = "method",
        status
    );
    layout!(
        c,
        Load,
        "callsign_kore_load",
        struct_size,
        generation,
        plugin,
        config,
        state,
        state_length,
        state_version,
        probe,
        function,
        worker,
        replaces
    );
    layout!(c, Handler, "callsign_kore_handler", struct_size, kind, function);
    layout!(
        c,
        Plugin,
        "callsign_kore_plugin",
        magic,
        abi_major,
        abi_minor,
        struct_size,
        name,
        version,
        state_version,
        reserved,
        host,
        release,
        save,
        restore,
        save_plugin,
        restore_plugin
    );
    layout!(
        c,
        Host,
        "callsign_kore_host",
        struct_size,
        abi_major,
        abi_minor,
        send,
        broadcast,
        close,
        find,
        peer,
        path,
        query,
        header,
        header_at,
        close_code,
        close_reason,
        closed_by,
        request_header,
        request_header_at,
        respond_status,
        respond_header,
        respond_body,
        handshake,
        log,
        fail,
        in_callback,
        extension,
        timer_add,
        timer_remove,
        background,
        save,
        worker_index,
        worker_count,
        worker_send,
        worker_receive,
        protocol,
        certificate,
        certificate_field,
        param,
        queued,
        handshake_with,
        is_secure
    );
    for (name, number) in numbers() {
        writeln!(c, "CHECK({name} == INT64_C({number}));").expect("writing to a string succeeds");
    }
    let source = scratch("layout.c");
    fs::write(&source, c).expect("the scratch folder can be written");
    for compiler in ["gcc", "clang"] {
        compile(compiler, &["-std=gnu11"], &source, &scratch("layout.so"));
    }
}

fn numbers() -> Vec<(&'static str, i64)> {
    use abi::{kind, level, method, op, saved, scope, status};
    let mut numbers: Vec<(&str, i64)> = vec![("CALLSIGN_KORE_MAGIC", abi::MAGIC.cast_signed())];
    let unsigned = [
        ("CALLSIGN_KORE_ALL_WORKERS", abi::ALL_WORKERS),
        ("CALLSIGN_KORE_ONLOAD", kind::ONLOAD),
        ("CALLSIGN_KORE_ONUNLOAD", kind::ONUNLOAD),
        ("CALLSIGN_KORE_ERROR", level::ERROR),
        ("CALLSIGN_KORE_WARN", level::WARN),
        ("CALLSIGN_KORE_INFO", level::INFO),
        ("CALLSIGN_KORE_DEBUG", level::DEBUG),
        ("WEBSOCKET_OP_TEXT", op::TEXT.into()),
        ("WEBSOCKET_OP_BINARY", op::BINARY.into()),
        ("WEBSOCKET_OP_PING", op::PING.into()),
        ("WEBSOCKET_OP_PONG", op::PONG.into()),
        ("WEBSOCKET_BROADCAST_LOCAL", scope::LOCAL),
        ("WEBSOCKET_BROADCAST_GLOBAL", scope::GLOBAL),
        ("HTTP_METHOD_GET", method::GET),
        ("HTTP_METHOD_POST", method::POST),
        ("HTTP_METHOD_PUT", method::PUT),
        ("HTTP_METHOD_DELETE", method::DELETE),
        ("HTTP_METHOD_HEAD", method::HEAD),
        ("HTTP_METHOD_OPTIONS", method::OPTIONS),
        ("HTTP_METHOD_PATCH", method::PATCH),
    ];
    numbers.extend(unsigned.map(|(name, number)| (name, i64::from(number))));
    let signed = [
        ("CALLSIGN_KORE_CLOSED", status::CLOSED),
        ("CALLSIGN_KORE_TOO_LARGE", status::TOO_LARGE),
        ("CALLSIGN_KORE_BAD_OP", status::BAD_OP),
        ("CALLSIGN_KORE_BAD_UTF8", status::BAD_UTF8),
        ("CALLSIGN_KORE_BAD_ARGUMENT", status::BAD_ARGUMENT),
        ("CALLSIGN_KORE_NOT_FOUND", status::NOT_FOUND),
        ("CALLSIGN_KORE_WRONG_THREAD", status::WRONG_THREAD),
        ("CALLSIGN_KORE_NOT_NOW", status::NOT_NOW),
        ("KORE_RESULT_ERROR", saved::FAILED),
        ("KORE_RESULT_OK", saved::SAVED),
    ];
    numbers.extend(signed.map(|(name, number)| (name, i64::from(number))));
    numbers
}
