//! The key `compression` of the config file.

use std::path::Path;

use callsign::testing::file as config;
use callsign::testing::{Compression, CompressionMode, settings};

#[test]
fn compression_is_a_mode_or_a_table_of_which_only_the_mode_is_required() {
    let text = |value: &str| format!("[websocket]\ncompression = {value}");
    let of = |value: &str| config::parse(&text(value), Path::new("callsign.toml")).unwrap().compression;
    let (on, context) = (Compression::of(CompressionMode::On), Compression::of(CompressionMode::Context));
    assert_eq!(of("'off'"), Some(Compression::default()));
    assert_eq!(of("'on'"), Some(on));
    assert_eq!(of("{ mode = 'context' }"), Some(context));
    assert_eq!((on.window_bits, on.threshold, context.window_bits, context.threshold), (15, 512, 12, 64));
    assert_eq!(
        of("{ mode = 'on', window_bits = 9, level = 1, threshold = '1KiB' }"),
        Some(Compression { mode: CompressionMode::On, window_bits: 9, level: 1, threshold: 1024 })
    );
    for (value, message) in [
        (
            "true",
            "`compression` in [websocket]: found boolean `true`, expected \"off\", \"on\", \"context\", or a \
                  table such as { mode = \"on\", level = 6 }",
        ),
        (
            "{ mode = 'ON' }",
            "`mode` in `compression`: found string `'ON'`, expected \"off\", \"on\" or \"context\"",
        ),
        ("{ level = 3 }", "`mode` is missing in `compression`"),
        (
            "{ mode = 'on', level = 0 }",
            "`level` in `compression`: found integer `0`, expected a whole number from 1 to 9",
        ),
        (
            "{ mode = 'on', window_bits = 8 }",
            "`window_bits` in `compression`: found integer `8`, expected a whole number \
                                              from 9 to 15",
        ),
        (
            "{ mode = 'on', windowbits = 9 }",
            "unknown key `windowbits` in `compression`; did you mean `window_bits`?",
        ),
    ] {
        let error = config::parse(&text(value), Path::new("callsign.toml")).unwrap_err().to_string();
        assert!(error.starts_with("callsign.toml:2:") && error.ends_with(message), "{error}");
    }
}

#[test]
fn the_example_file_shows_the_default_and_a_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/callsign.toml");
    let config = config::read(&file).expect("the example is valid");
    assert_eq!(config.compression, Some(Compression::of(settings::DEFAULT_COMPRESSION)));
    assert_eq!(config.routes[1].compression, Some(Compression::of(CompressionMode::Context)));
}
