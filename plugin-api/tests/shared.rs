//! The descriptor that `plugin!` exports, shared state over a reload, and the load and unload hooks.

mod fake_host;

use std::cell::Cell;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use callsign_plugin::__private::Place;
use callsign_plugin::prelude::*;
use callsign_plugin::{Shared, abi};
use fake_host::{Outcome, end_timers, restore_plugin, save_plugin, start, unload, with_load};
use serde::{Deserialize, Serialize};

callsign_plugin::plugin!(shared = Room, name = "test", state = Session,);

#[derive(Default, Serialize, Deserialize)]
struct Session;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Room {
    topic: String,
    visits: u32,
}

thread_local!(static DROPPED: Cell<u32> = const { Cell::new(0) });

impl Drop for Room {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

/// The state of the plugin's next version.
mod next {
    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    pub struct Room {
        pub visits: u32,
        #[serde(default)]
        pub open: bool,
    }

    impl Shared for Room {
        fn __place() -> &'static Place<Self> {
            thread_local!(static PLACE: &'static Place<Room> = Place::leaked());
            PLACE.with(|place| *place)
        }
    }
}

/// An incompatible state.
mod other {
    use super::*;

    #[derive(Debug, Default, Serialize, Deserialize)]
    pub struct Room {
        pub topic: Vec<bool>,
    }

    impl Shared for Room {
        fn __place() -> &'static Place<Self> {
            thread_local!(static PLACE: &'static Place<Room> = Place::leaked());
            PLACE.with(|place| *place)
        }
    }
}

#[onunload]
fn bye() {}

#[onunload]
fn bye_fails() -> Result<(), &'static str> {
    Err("still busy")
}

#[onunload]
fn bye_panics() {
    panic!("bye panics")
}

#[expect(unsafe_code, reason = "the exported symbols are declared as in C")]
unsafe extern "C" {
    safe static callsign_plugin: abi::Plugin;
    safe static callsign_handler_bye: abi::Handler;
    safe static callsign_handler_bye_fails: abi::Handler;
    safe static callsign_handler_bye_panics: abi::Handler;
}

#[test]
fn the_descriptor_has_the_declared_name_and_hooks() {
    let plugin = &callsign_plugin;
    assert_eq!(CStr::from_bytes_until_nul(&plugin.name), Ok(c"test"));
    let hooks = [plugin.release.is_some(), plugin.save.is_some(), plugin.restore.is_some()];
    assert_eq!(hooks, [true; 3]);
    assert!(plugin.save_plugin.is_some() && plugin.restore_plugin.is_some());
}

#[test]
fn shared_state_is_carried_over_and_dropped_with_its_generation() {
    start();
    assert_eq!(save_plugin::<Room>(), Outcome::NotMine);
    shared::<Room>().visits += 1;
    shared::<Room>().visits += 1;
    let bytes = save_plugin::<Room>().bytes();
    restore_plugin::<next::Room>(&bytes).unwrap();
    // If the reload is rejected here, the old generation keeps its state.
    shared::<Room>().visits += 1;
    assert_eq!(*shared::<next::Room>(), next::Room { visits: 2, open: false });

    assert_eq!(DROPPED.get(), 0);
    assert_eq!(end_timers(), 2); // one timer per generation
    assert_eq!(DROPPED.get(), 1);
    assert_eq!(save_plugin::<Room>(), Outcome::NotMine);
    assert_eq!(save_plugin::<next::Room>(), Outcome::NotMine);
}

#[test]
fn incompatible_shared_state_is_rejected_and_the_field_is_named() {
    start();
    shared::<Room>().topic = "cats".into();
    let bytes = save_plugin::<Room>().bytes();
    let reason = restore_plugin::<other::Room>(&bytes).unwrap_err();
    let expected = "shared state `Room`, field `topic`: invalid type: string \"cats\", expected a sequence";
    assert!(reason.starts_with(expected), "{reason}");
    assert_eq!(save_plugin::<other::Room>(), Outcome::NotMine);
}

#[test]
fn shared_state_is_borrowed_once_at_a_time() {
    start();
    let guard = shared::<Room>();
    let payload = catch_unwind(|| shared::<Room>().visits).unwrap_err();
    assert_eq!(
        payload.downcast_ref::<String>().map(String::as_str),
        Some(
            "the shared state `Room` is borrowed already: a guard of shared::<Room>() is alive; end its block or \
             drop() it before you ask for the next"
        )
    );
    let kept =
        "shared state `Room`: it is borrowed; a guard of shared::<Room>() was kept or forgotten, let it go";
    assert_eq!(save_plugin::<Room>(), Outcome::Failed(kept.into()));
    assert_eq!(restore_plugin::<Room>(&[1, 0x80]), Err("shared state `Room`, field `topic`: it is new and has no \
        default; add #[serde(default)] to it (or #[serde(alias = \"…\")] with its old name, if it was renamed)".into()));
    drop(guard);
    assert_eq!(shared::<Room>().visits, 0);
}

#[test]
fn shared_state_belongs_to_the_worker_thread() {
    start();
    shared::<Room>().visits = 1;
    let elsewhere = std::thread::spawn(|| catch_unwind(AssertUnwindSafe(|| shared::<Room>().visits)));
    let payload = elsewhere.join().unwrap().unwrap_err();
    let reason = payload.downcast_ref::<String>().expect("a formatted message");
    assert!(reason.starts_with("the shared state `Room` is not for other threads"), "{reason}");
}

#[test]
fn an_unload_hook_is_exported_and_its_failures_are_reported() {
    assert_eq!(unload(&callsign_handler_bye), None);
    assert_eq!(unload(&callsign_handler_bye_fails), Some("still busy".into()));
    assert_eq!(unload(&callsign_handler_bye_panics), Some("panicked: bye panics (shared.rs:1)".into()));
}

#[test]
fn a_load_hook_gets_its_generation_and_the_carried_state() {
    with_load(1, true, None, |load| {
        assert_eq!((load.generation(), load.is_probe(), load.carried()), (1, true, None));
        assert_eq!((load.worker(), load.replaces()), (5, None));
    });
    with_load(2, false, Some(b"abc"), |load| {
        assert_eq!((load.generation(), load.is_probe(), load.replaces()), (2, false, Some(1)));
        assert_eq!((load.carried(), load.carried_version()), (Some(&b"abc"[..]), 3));
    });
    with_load(2, false, Some(b""), |load| assert_eq!(load.carried(), Some(&b""[..])));
}
