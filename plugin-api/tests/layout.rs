//! The layout of ABI 1.0: offset and size of every field, and the value of every constant. Plugins that were
//! built against ABI 1.0 have these numbers in their machine code, so none of them may ever change. New
//! fields go to the end of their struct, new constants get new values; both raise `ABI_MINOR` and are added
//! to these tables.
#![cfg(target_pointer_width = "64")]
#![forbid(unsafe_code)]

use std::mem::offset_of;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use callsign_plugin::abi;
use syn::{Fields, Item};

/// Layout of a struct in ABI 1.0, and now.
struct Layout {
    name: &'static str,
    c_name: &'static str,
    size: usize,
    size_now: usize,
    fields: Vec<Field>,
}

/// Offset and size of a field in ABI 1.0, and now.
struct Field {
    name: &'static str,
    place: (usize, usize),
    place_now: (usize, usize),
}

macro_rules! layouts {
    ($($name:ident, $c_name:literal, $size:literal: $($field:ident $offset:literal $length:literal,)*;)*) => {
        [$(Layout {
            name: stringify!($name),
            c_name: $c_name,
            size: $size,
            size_now: size_of::<abi::$name>(),
            fields: vec![$(Field {
                name: stringify!($field),
                place: ($offset, $length),
                place_now: (
                    offset_of!(abi::$name, $field),
                    size_of_field(|all: &abi::$name| &all.$field),
                ),
            },)*],
        },)*]
    };
}

fn size_of_field<T, F>(_: impl Fn(&T) -> &F) -> usize {
    size_of::<F>()
}

#[rustfmt::skip]
fn abi_1_0() -> [Layout; 8] {
    layouts! {
        Connection, "struct connection", 24:
            data 0 8,
            id 8 8,
            data_tag 16 8,;
        Request, "struct callsign_request", 88:
            data 0 8,
            struct_size 8 4,
            upgrade 12 4,
            method 16 8,
            path 24 8,
            query 32 8,
            peer 40 8,
            body 48 8,
            body_length 56 8,
            host 64 8,
            owner 72 8,
            method_code 80 4,
            status 84 4,; // ABI 1.1
        Load, "struct callsign_load", 56:
            struct_size 0 4,
            generation 4 4,
            plugin 8 8,
            config 16 8,
            state 24 8,
            state_length 32 8,
            state_version 40 4,
            probe 44 4,
            function 48 8,
            worker 56 4,
            replaces 60 4,;
        Handler, "struct callsign_handler", 16:
            struct_size 0 4,
            kind 4 4,
            function 8 8,;
        Guard, "struct callsign_guard", 16:
            struct_size 0 4,
            reserved 4 4,
            call 8 8,;
        Plugin, "struct callsign_plugin", 168:
            magic 0 8,
            abi_major 8 2,
            abi_minor 10 2,
            struct_size 12 4,
            name 16 64,
            version 80 32,
            state_version 112 4,
            reserved 116 4,
            host 120 8,
            release 128 8,
            save 136 8,
            restore 144 8,
            save_plugin 152 8,
            restore_plugin 160 8,;
        Host, "struct callsign_host", 248:
            struct_size 0 4,
            abi_major 4 2,
            abi_minor 6 2,
            send 8 8,
            broadcast 16 8,
            close 24 8,
            find 32 8,
            peer 40 8,
            path 48 8,
            query 56 8,
            header 64 8,
            header_at 72 8,
            close_code 80 8,
            close_reason 88 8,
            closed_by 96 8,
            request_header 104 8,
            request_header_at 112 8,
            respond_status 120 8,
            respond_header 128 8,
            respond_body 136 8,
            handshake 144 8,
            log 152 8,
            fail 160 8,
            in_callback 168 8,
            extension 176 8,
            timer_add 184 8,
            timer_remove 192 8,
            background 200 8,
            save 208 8,
            worker_index 216 8,
            worker_count 224 8,
            worker_send 232 8,
            worker_receive 240 8,
            protocol 248 8, // ABI 1.1
            certificate 256 8,
            certificate_field 264 8,
            param 272 8,
            queued 280 8,
            handshake_with 288 8,
            is_secure 296 8,;
        Handshake, "struct callsign_handshake", 40: // ABI 1.1
            struct_size 0 4,
            reserved 4 4,
            onconnect 8 8,
            onmessage 16 8,
            ondisconnect 24 8,
            ondrain 32 8,;
    }
}

macro_rules! constants {
    ($($($path:ident)::+ $value:literal,)*) => {
        vec![$((stringify!($($path)::+), $value as i64, i64::from_constant(abi::$($path)::+)),)*]
    };
}

/// Converts the integer types of the ABI.
trait FromConstant<T> {
    fn from_constant(value: T) -> Self;
}

macro_rules! from_constant {
    ($($type:ty)*) => {$(
        impl FromConstant<$type> for i64 {
            fn from_constant(value: $type) -> Self {
                Self::try_from(value).expect("constants are small")
            }
        }
    )*};
}
from_constant!(u8 u16 u32 i32 usize);

#[rustfmt::skip]
fn constants_1_0() -> Vec<(&'static str, i64, i64)> {
    constants! {
        ABI_MAJOR 1,
        op::TEXT 1,
        op::BINARY 2,
        op::PING 9,
        op::PONG 10,
        scope::LOCAL 1,
        scope::GLOBAL 2,
        kind::ONCONNECT 1,
        kind::ONMESSAGE 2,
        kind::ONDISCONNECT 3,
        kind::ONREQUEST 4,
        kind::ONLOAD 5,
        kind::ONUNLOAD 6,
        kind::ONDRAIN 7,
        status::SENT 0,
        status::QUEUED 1,
        status::CLOSED -1,
        status::TOO_LARGE -2,
        status::BAD_OP -3,
        status::BAD_UTF8 -4,
        status::BAD_ARGUMENT -5,
        status::NOT_FOUND -6,
        status::WRONG_KIND -7,
        status::NOT_UPGRADE -8,
        status::WRONG_THREAD -9,
        status::BUSY -10,
        status::NOT_NOW -11,
        status::DROPPED -12,
        saved::FAILED 0,
        saved::SAVED 1,
        saved::NOT_MINE 2,
        saved::RESTART 3,
        closed_by::NOBODY 0,
        closed_by::CLIENT 1,
        closed_by::SERVER 2,
        certificate::SUBJECT 1,
        certificate::ISSUER 2,
        certificate::COMMON_NAME 3,
        certificate::SERIAL 4,
        certificate::FINGERPRINT 5,
        certificate::DNS 6,
        certificate::EMAIL 7,
        certificate::URI 8,
        certificate::ADDRESS 9,
        method::OTHER 0,
        method::GET 1,
        method::POST 2,
        method::PUT 4,
        method::DELETE 16,
        method::HEAD 32,
        method::OPTIONS 64,
        method::PATCH 128,
        level::ERROR 1,
        level::WARN 2,
        level::INFO 3,
        level::DEBUG 4,
        NAME_SIZE 64,
        VERSION_SIZE 32,
    }
}

#[test]
fn every_field_has_its_place_of_abi_1_0() {
    for layout in abi_1_0() {
        for field in layout.fields {
            assert_eq!(
                field.place_now, field.place,
                "`{}::{}`: offset and size differ from ABI 1.0; existing plugins would break",
                layout.name, field.name
            );
        }
        assert!(layout.size_now >= layout.size, "`{}` has shrunk", layout.name);
        assert!(
            layout.size_now == layout.size || abi::ABI_MINOR != 0,
            "`{}` has {} bytes instead of {} in ABI 1.0; raise ABI_MINOR",
            layout.name,
            layout.size_now,
            layout.size
        );
    }
    assert_eq!(size_of::<abi::HandlerFunction>(), size_of::<usize>(), "a handler's function is a pointer");
}

#[test]
fn every_constant_has_its_value_of_abi_1_0() {
    for (name, value, now) in constants_1_0() {
        let name = name.replace(' ', "");
        assert_eq!(now, value, "`{name}` differs from ABI 1.0; existing plugins would break");
    }
    assert_eq!(
        &abi::MAGIC.to_ne_bytes()[..],
        if cfg!(target_endian = "little") { b"callsign" } else { b"ngisllac" }
    );
    assert_eq!((abi::PLUGIN_SYMBOL, abi::HANDLER_PREFIX), ("callsign_plugin", "callsign_handler_"));
    assert_eq!(abi::GUARD_SYMBOL, "callsign_guard");
    assert_eq!(abi::ALL_WORKERS, 0xffff_ffff);
}

/// Fields and constants outside the tables would not be protected against changes.
#[test]
fn the_tables_have_every_field_and_every_constant() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/abi.rs"));
    let file = syn::parse_file(&source.expect("abi.rs is readable")).expect("abi.rs is Rust");
    let (layouts, constants) = (abi_1_0(), constants_1_0());
    let mut fields = 0;
    for item in &file.items {
        match item {
            Item::Struct(item) => {
                let layout = layouts.iter().find(|layout| item.ident == layout.name);
                let layout =
                    layout.unwrap_or_else(|| panic!("struct `{}` is missing in the table", item.ident));
                let Fields::Named(named) = &item.fields else {
                    panic!("`{}` has unnamed fields", item.ident)
                };
                for name in named.named.iter().filter_map(|field| field.ident.as_ref()) {
                    let found = layout.fields.iter().any(|field| name == field.name);
                    assert!(found, "`{}::{name}` is missing in the table", item.ident);
                    fields += 1;
                }
            }
            Item::Mod(module) => {
                for item in module.content.iter().flat_map(|(_, items)| items) {
                    let Item::Const(item) = item else { continue };
                    let path = format!("{}::{}", module.ident, item.ident);
                    let found = constants.iter().any(|(name, ..)| name.replace(' ', "") == path);
                    assert!(found, "`{path}` is missing in the table");
                }
            }
            _ => {}
        }
    }
    assert_eq!(fields, layouts.iter().map(|layout| layout.fields.len()).sum::<usize>());
}

/// Checks the same numbers in C, through the header.
#[test]
fn every_field_has_its_place_of_abi_1_0_in_c() {
    let mut source = "#include <callsign.h>\n".to_owned();
    for Layout { c_name, size, fields, .. } in abi_1_0() {
        let exact = if abi::ABI_MINOR == 0 { "==" } else { ">=" };
        source += &format!("_Static_assert(sizeof({c_name}) {exact} {size}, \"size of {c_name}\");\n");
        for Field { name, place: (offset, length), .. } in fields {
            source += &format!(
                "_Static_assert(offsetof({c_name}, {name}) == {offset} && sizeof(({c_name} *)0)->{name} == {length}, \
                 \"{c_name}: {name} has moved since ABI 1.0\");\n"
            );
        }
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layout.c");
    fs::write(&file, source).expect("the scratch folder is writable");
    compiles(&file);
}

/// Offsets and sizes do not detect a function pointer whose signature changed.
#[test]
fn every_field_has_its_type_of_abi_1_0_in_c() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layout/types_1_0.c");
    let text = fs::read_to_string(&file).expect("types_1_0.c is readable");
    for layout in abi_1_0() {
        for field in layout.fields {
            let line = format!("\nIS({}, {}, ", layout.c_name, field.name);
            assert!(text.contains(&line), "`{}::{}` is missing in types_1_0.c", layout.name, field.name);
        }
    }
    compiles(&file);
}

fn compiles(file: &Path) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I"])
        .args([&include, file])
        .output()
        .expect("a C compiler is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
